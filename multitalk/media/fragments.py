"""Clips as playable video files, optionally split to stay below a size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from .mix import between
from .sound import Sound
from .video import FrameFilter, VideoWriter

CRF = 18.0  # VideoWriter's default
CRF_STEP, MAX_CRF = 6.0, 50.0
PREVIEW_CRF = 28.0


class EncodableClip(Protocol):
    """The attributes of the pipeline's clip that are written."""

    @property
    def frames(self) -> Any:
        """New frames, ``T H W 3`` uint8, an array or a tensor."""
        ...

    @property
    def start(self) -> int:
        """Index of the first new frame in the video."""
        ...

    @property
    def sound(self) -> Sound:
        """Audio of the new frames."""
        ...

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags of the clip's files."""
        ...

    @property
    def frame_marks(self) -> FrameFilter | None:
        """What the encoder adds to the frames."""
        ...


class EncodablePreview(Protocol):
    """The attributes of the pipeline's preview that are written."""

    @property
    def frames(self) -> Any:
        """Frames, ``T H W 3`` uint8, an array or a tensor."""
        ...

    @property
    def fps(self) -> Fraction:
        """Frames per second."""
        ...

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags of the preview's files."""
        ...

    @property
    def frame_marks(self) -> FrameFilter | None:
        """What the encoder adds to the frames."""
        ...


@dataclass(frozen=True)
class Fragment:
    """A part of a clip.

    Attributes:
        start: Index of its first frame in the video.
        frames: Number of frames.
        data: An mp4 with its part of the audio.
    """

    start: int
    frames: int
    data: bytes


def write_clip(clip: EncodableClip, path: Path, fps: int) -> None:
    """Write a clip's new frames and their audio as an mp4."""
    _write(clip.frames, clip.sound, path, fps, CRF, clip.tags, clip.frame_marks)


def write_preview(preview: EncodablePreview, path: Path) -> None:
    """Write a preview as a small mp4 without audio."""
    _write(preview.frames, None, path, preview.fps, PREVIEW_CRF, preview.tags, preview.frame_marks)


def split_clip(clip: EncodableClip, folder: Path, fps: int, limit: int) -> Iterator[Fragment]:
    """Split a clip into files below a size, by halving it repeatedly.

    Args:
        clip: The clip.
        folder: Folder for temporary files, which are removed.
        fps: Frames per second.
        limit: Maximum size in bytes. A single frame above it is compressed more.

    Yields:
        Fragments in order; together they contain every new frame once.
    """
    yield from _split(
        clip.frames, clip.sound, clip.start, folder, fps, limit, CRF, clip.tags, clip.frame_marks
    )


def _split(
    frames: Any,
    sound: Sound,
    start: int,
    folder: Path,
    fps: int,
    limit: int,
    crf: float,
    tags: Mapping[str, str],
    frame_marks: FrameFilter | None,
) -> Iterator[Fragment]:
    path = folder / f"fragment-{uuid4().hex}.mp4"
    try:
        _write(frames, sound, path, fps, crf, tags, frame_marks)
        data = path.read_bytes()
    finally:
        path.unlink(missing_ok=True)
    count = len(frames)
    if len(data) <= limit or (count == 1 and crf >= MAX_CRF):
        yield Fragment(start, count, data)
    elif count == 1:
        yield from _split(frames, sound, start, folder, fps, limit, crf + CRF_STEP, tags, frame_marks)
    else:
        half = count // 2
        first, second = between(sound, 0, half / fps), between(sound, half / fps, sound.seconds)
        yield from _split(frames[:half], first, start, folder, fps, limit, crf, tags, frame_marks)
        yield from _split(frames[half:], second, start + half, folder, fps, limit, crf, tags, frame_marks)


def _write(
    frames: Any,
    sound: Sound | None,
    path: Path,
    fps: int | Fraction,
    crf: float,
    tags: Mapping[str, str],
    frame_marks: FrameFilter | None,
) -> None:
    height, width = frames.shape[1:3]
    with VideoWriter(
        path, width, height, fps=fps, sound=sound, crf=crf, metadata=dict(tags), frame_marks=frame_marks
    ) as writer:
        writer.write(frames)
