"""A clip as video files that play on their own, none larger than a message may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from .mix import between
from .sound import Sound
from .video import VideoWriter

CRF = 18.0  # VideoWriter's own
COARSER, COARSEST = 6.0, 50.0


class Clip(Protocol):
    """What of the pipeline's clip is written; ``frames`` are ``T H W 3`` uint8, an array or a tensor."""

    @property
    def frames(self) -> Any:
        """The frames that the clip before hasn't shown."""
        ...

    @property
    def start(self) -> int:
        """Number of the first of them in the video."""
        ...

    @property
    def sound(self) -> Sound:
        """What is heard with them."""
        ...


@dataclass(frozen=True)
class Fragment:
    """A piece of a clip.

    Attributes:
        start: Number of its first frame in the video.
        frames: How many it has.
        data: An mp4 with its part of the sound.
    """

    start: int
    frames: int
    data: bytes


def write_clip(clip: Clip, path: Path, fps: int) -> None:
    """Write a clip's new frames and their sound as an mp4."""
    _write(clip.frames, clip.sound, path, fps, CRF)


def split_clip(clip: Clip, folder: Path, fps: int, limit: int) -> Iterator[Fragment]:
    """Cut a clip into files of at most so many bytes, in halves until they fit.

    Args:
        clip: The clip.
        folder: For a file while it is written; nothing stays there.
        fps: Frames per second.
        limit: Bytes. A single frame that is larger is compressed further.

    Yields:
        Fragments, in order; together they show every frame of the clip once.
    """
    yield from _split(clip.frames, clip.sound, clip.start, folder, fps, limit, CRF)


def _split(
    frames: Any, sound: Sound, start: int, folder: Path, fps: int, limit: int, crf: float
) -> Iterator[Fragment]:
    path = folder / f"fragment-{uuid4().hex}.mp4"
    try:
        _write(frames, sound, path, fps, crf)
        data = path.read_bytes()
    finally:
        path.unlink(missing_ok=True)
    count = len(frames)
    if len(data) <= limit or (count == 1 and crf >= COARSEST):
        yield Fragment(start, count, data)
    elif count == 1:
        yield from _split(frames, sound, start, folder, fps, limit, crf + COARSER)
    else:
        half = count // 2
        first, second = between(sound, 0, half / fps), between(sound, half / fps, sound.seconds)
        yield from _split(frames[:half], first, start, folder, fps, limit, crf)
        yield from _split(frames[half:], second, start + half, folder, fps, limit, crf)


def _write(frames: Any, sound: Sound, path: Path, fps: int, crf: float) -> None:
    height, width = frames.shape[1:3]
    with VideoWriter(path, width, height, fps=fps, sound=sound, crf=crf) as writer:
        writer.write(frames)
