"""Writing mp4 files: H.264 video, encoded as frames arrive, and AAC audio."""

from __future__ import annotations

import contextlib
import math
import os
import stat
import uuid
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from ..errors import InvalidInput, MultiTalkError
from .sound import AAC_LAYOUTS, Sound, fit_for_aac
from .xmp import append_xmp

# Tags of mp4 files that players and PyAV's ``container.metadata`` show.
TAGS = frozenset({"title", "comment", "artist", "date", "description", "copyright", "genre"})
XMP = "xmp"  # a packet of XMP, which FFmpeg reads under this name and cannot write


class FrameFilter(Protocol):
    """What the encoder does to each frame, such as :class:`multitalk.marks.frames.FrameMarks`."""

    def apply(self, frame: np.ndarray, index: int) -> np.ndarray:
        """Return the frame to encode, uint8 ``H W 3``; the given one, number `index`, must not change."""
        ...


class VideoWriter:
    """Write an mp4 in one pass; memory use does not grow with the video's length.

    The video is written to a temporary file in the same folder, which is renamed when it is complete, and
    removed when the ``with`` block ends with an exception.

    Args:
        path: The mp4 to write; an existing file is replaced.
        width, height: Size in pixels, even.
        fps: Frames per second.
        sound: Audio of the whole video; None: no audio track. Converted if AAC does not support its sample
            rate or channel count (see ``aac``).
        crf: Constant rate factor of x264; lower is better.
        metadata: Tags of the file, with names in ``TAGS``, and ``"xmp"``: a packet of XMP.
        complete: Called with the path of the complete file before the file gets its name, to sign it.
        frame_marks: The watermark and the label to add to every frame; None: the frames are encoded as they
            are.

    Attributes:
        frames: Number of frames so far.
        last_frame: The last one, ``H W 3`` uint8, with its marks; black before the first.

    Raises:
        InvalidInput: The file cannot be written; see :func:`check_target`.

    Example:
        >>> with VideoWriter("out.mp4", 832, 480, sound=sound) as writer:
        ...     for clip in pipe.stream(request):
        ...         writer.write(clip.frames)
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: int | Fraction = 25,
        sound: Sound | None = None,
        crf: float = 18,
        metadata: dict[str, str] | None = None,
        complete: Callable[[Path], None] | None = None,
        frame_marks: FrameFilter | None = None,
    ) -> None:
        if width % 2 or height % 2 or width <= 0 or height <= 0:
            raise ValueError(f"width and height must be even and positive, not {width}x{height}")
        if unknown := set(metadata or {}) - TAGS - {XMP}:
            raise ValueError(f"metadata must have tags from {sorted(TAGS | {XMP})}, not {sorted(unknown)}")
        self.path = check_target(path)
        self.width, self.height, self.fps = width, height, fps
        self.frames = 0
        self.last_frame = np.zeros((height, width, 3), np.uint8)
        self._crf = crf
        self._metadata = dict(metadata or {})
        self._xmp = self._metadata.pop(XMP, "")
        self._complete = complete
        self._frame_marks = frame_marks
        self._sound = None if sound is None or not len(sound.samples) else fit_for_aac(sound)
        self._sound_position = 0
        self._temporary = self.path.with_name(f".{self.path.name[:50]}.{uuid.uuid4().hex[:12]}.part")

    def __enter__(self) -> VideoWriter:
        self._container = self._checked(
            lambda: av.open(str(self._temporary), "w", format="mp4", options={"movflags": "+faststart"})
        )
        try:
            self._container.metadata.update(self._metadata)
            self._video = self._add_video()
            self._audio = None if self._sound is None else self._add_audio(self._sound)
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, frames: Any) -> None:
        """Encode frames and their audio.

        Args:
            frames: uint8 ``[T, height, width, 3]``, RGB: an array, or a tensor on any device.
        """
        array = frames.cpu().numpy() if hasattr(frames, "cpu") else np.asarray(frames)
        if array.dtype != np.uint8 or array.shape[1:] != (self.height, self.width, 3):
            raise ValueError(
                f"frames must be uint8 T {self.height} {self.width} 3, not {array.dtype} {array.shape}"
            )
        for image in array:
            self._checked(lambda image=image: self._write_frame(image))  # type: ignore[misc]
        self.last_frame = self.last_frame.copy()  # a view would keep the whole clip

    def end_here(self) -> None:
        """Cut the audio at the last frame written so far, for a video that is not completed."""
        if self._sound is not None:
            end = max(self._sound_position, round(self.frames / self.fps * self._sound.rate))
            self._sound = Sound(self._sound.samples[:end], self._sound.rate)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._discard()
            return
        try:
            if not self.frames:
                raise MultiTalkError(f"output {self.path.name!r} has no frames.")
            self._checked(self._finish)
        except BaseException:
            self._discard()
            raise

    def _add_video(self) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=self.fps, options={"crf": str(self._crf)})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
        context = stream.codec_context
        context.color_range = ColorRange.MPEG
        context.colorspace = Colorspace.ITU709
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        return stream

    def _add_audio(self, sound: Sound) -> AudioStream:
        stream = self._container.add_stream("aac", rate=sound.rate, layout=AAC_LAYOUTS[sound.channels])
        assert isinstance(stream, AudioStream)
        # Transparent for speech; AAC frames hold at most 6 bits per sample and channel.
        stream.bit_rate = min(96_000, 4 * sound.rate) * sound.channels
        return stream

    def _write_frame(self, image: np.ndarray) -> None:
        image = np.ascontiguousarray(image)
        if self._frame_marks is not None:
            image = self._frame_marks.apply(image, self.frames)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = self.frames, Fraction(1, self.fps)
        self._container.mux(self._video.encode(frame))
        self.frames += 1
        self.last_frame = image
        # Write audio in step: the muxer keeps packets in memory until the other stream catches up.
        self._write_sound(until=math.ceil(self.frames / self.fps * self._sound.rate) if self._sound else 0)

    def _write_sound(self, until: int) -> None:
        """Encode whole AAC frames until sample ``until`` is reached; only the last one may be short."""
        if self._sound is None or self._audio is None:
            return
        until = min(until, len(self._sound.samples))
        size = self._audio.codec_context.frame_size or 1024
        while self._sound_position < until:
            start = self._sound_position
            part = self._sound.samples[start : start + size]
            frame = av.AudioFrame.from_ndarray(
                part.reshape(1, -1), format="flt", layout=AAC_LAYOUTS[self._sound.channels]
            )
            frame.sample_rate, frame.pts = self._sound.rate, start
            frame.time_base = Fraction(1, self._sound.rate)
            self._container.mux(self._audio.encode(frame))
            self._sound_position = start + len(part)

    def _finish(self) -> None:
        if self._sound is not None and self._audio is not None:
            self._write_sound(until=len(self._sound.samples))
            self._container.mux(self._audio.encode(None))
        self._container.mux(self._video.encode(None))
        self._container.close()
        if self._xmp:
            append_xmp(self._temporary, self._xmp)
        if self._complete is not None:
            self._complete(self._temporary)
        os.replace(self._temporary, self.path)

    def _discard(self) -> None:
        """Close and remove the unfinished file."""
        # An error while closing must not replace the one that led here.
        with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
            self._container.close()
        self._temporary.unlink(missing_ok=True)

    def _checked(self, work: Callable[[], Any]) -> Any:
        """Run ``work``, and describe errors of the file system, such as a full disk, in one sentence."""
        try:
            return work()
        except OSError as error:
            reason = error.strerror or error
            raise MultiTalkError(f"output {str(self.path)!r} cannot be written: {reason}.") from error


def check_target(path: str | Path, suffix: str = ".mp4", name: str = "output") -> Path:
    """Check that a file can be written to a path, before any model runs.

    Args:
        path: The path.
        suffix: The extension of the file.
        name: What the path is called in errors.

    Returns:
        The path.

    Raises:
        InvalidInput: The folder does not exist or is not writable, the name is invalid or has another
            extension, or the path is not a regular file, but a folder, a pipe or a device.
    """
    target = Path(path)
    folder = target.parent
    shown = repr(str(target)[-200:])
    if not target.name:
        raise InvalidInput(f"{name} {str(path)!r} has no file name. Add one, such as out{suffix}.", "path")
    if target.suffix.lower() not in ("", suffix):
        kind = f"{'an' if suffix == '.mp4' else 'a'} {suffix[1:]}"
        raise InvalidInput(
            f"{name} must be {kind} file, not {shown}. Use a name such as out{suffix}.", "path"
        )
    try:
        is_folder = folder.is_dir()
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except (OSError, ValueError) as error:  # ValueError: a null byte
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{name} {shown} cannot be used: {reason}.", "path") from None
    if not is_folder:
        raise InvalidInput(
            f"{name} folder {str(folder)[-200:]!r} does not exist. Create it, or choose another.", "path"
        )
    if mode is not None and stat.S_ISDIR(mode):
        raise InvalidInput(f"{name} {shown} is a folder. Add a file name, such as out{suffix}.", "path")
    if mode is not None and not stat.S_ISREG(mode):
        raise InvalidInput(f"{name} {shown} is not a regular file. Choose another path.", "path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidInput(f"{name} folder {str(folder)!r} is not writable. Choose another.", "path")
    return target
