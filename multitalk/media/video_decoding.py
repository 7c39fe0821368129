"""Decoding the frames of a video file, forward, with FFmpeg; runs in a decoder process."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from .frame_position import SAME_TIME
from .picture_decoding import convert_picture
from .video_file import Source, VideoFile

MAX_PIXEL_RATIO = 4  # width of a pixel to its height; other values are damaged headers
MAX_THREADS = 4  # memory grows with them
SEEK_MARGIN = 1.0  # seconds; the first frames after a key frame may refer to frames before it
# Decoders of transparency, which FFmpeg's own decoders of these formats leave out.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Codes of H.273.
HIGH_DYNAMIC_RANGE = (16, 18)  # transfer functions PQ and HLG
WIDE_GAMUTS = (9, 11, 12)  # primaries of BT.2020 and P3
SRGB_COLORS = {"dst_color_trc": 13, "dst_color_primaries": 1}
# How to turn a frame upright, by the signs of the display matrix: a, b, c, d of x' = ax + cy, y' = bx + dy.
TURNS = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


class VideoFrames:
    """The frames of a video, decoded one after another.

    Args:
        source: The file.
        start: Seconds after the first frame at which to start. Of the frames before, only those since the
            last key frame are decoded, if the file can be searched.

    Attributes:
        number: Number of the current frame, in the order in which they are shown; with a `start`, counted
            from any frame before it.
        is_damaged: Whether a frame up to the next one could not be decoded.

    Raises:
        InvalidInput: The file cannot be read as a video.
    """

    def __init__(self, source: Source, start: float = 0.0) -> None:
        self._following: tuple[av.VideoFrame, float] | None
        # one for all frames: a table for wide-gamut colors takes seconds
        self._reformatter = VideoReformatter()
        self._open(source)
        if start > SEEK_MARGIN and not self._seek(start):
            self.close()
            self._open(source)
        self.number = -1
        self._current: Any = None
        self.seconds = 0.0
        self._advance()
        if start > 0:
            self.go_to(None, start)
            self.is_damaged = False  # frames before the start do not count

    def _open(self, source: Source) -> None:
        """Open a file and decode its first frame."""
        self._video = VideoFile(source)
        self._decoder = self._choose_decoder()
        self._origin: float | None = None  # timestamp of the first frame
        self._time = 0.0
        self.is_damaged = False
        self._frames = self._decode()
        self._following = self._take()
        if self._following is None:
            self.close()
            raise source.unreadable()

    def _seek(self, seconds: float) -> bool:
        """Go to a key frame before a time; return False if the file cannot be searched."""
        assert self._following is not None
        if self._following[0].time is None or self._origin is None:
            return False
        stream = self._video.stream
        position = int((self._origin + seconds - SEEK_MARGIN) / stream.time_base)
        try:
            self._video.container.seek(position, stream=stream)
        except av.error.FFmpegError:
            return False
        self._decoder.flush_buffers()
        self._frames = self._decode()
        self._following = self._take()
        return self._following is not None and self._following[1] <= seconds + SAME_TIME

    def close(self) -> None:
        """Close the file."""
        self._video.close()

    def is_after(self, number: int | None, seconds: float | None) -> bool:
        """Whether the current frame is after a position, which can then not be reached."""
        if number is not None:
            return self.number > number
        return seconds is not None and self.number > 0 and self.seconds > seconds + SAME_TIME

    def go_to(self, number: int | None, seconds: float | None) -> None:
        """Go forward to a frame, or to the last one.

        Args:
            number: Its number.
            seconds: Instead, a time after the first frame at which it is shown.
        """
        while self._following is not None:
            if number is not None and self.number >= number:
                return
            if seconds is not None and self._following[1] > seconds + SAME_TIME:
                return
            self._advance()

    def advance(self) -> bool:
        """Go to the next frame; return False if there is none."""
        if self._following is None:
            return False
        self._advance()
        return True

    @property
    def end(self) -> float:
        """Time after the first frame at which the current one ends, if it is the last one."""
        return self.seconds + 1 / self._video.rate

    def small(self, longer_side: int) -> np.ndarray:
        """Reduce the current frame for comparisons: BGR uint8 ``H W 3``, as stored, not upright."""
        frame = self._current
        scale = min(1.0, longer_side / max(frame.width, frame.height))
        width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
        return frame.to_ndarray(format="bgr24", width=width, height=height, interpolation="AREA")

    def picture(self) -> Image.Image:
        """Convert the current frame to upright RGB with square pixels."""
        frame, source = self._current, self._video.source
        has_alpha = any(component.is_alpha for component in frame.format.components)
        is_srgb = frame.color_trc not in HIGH_DYNAMIC_RANGE and frame.color_primaries not in WIDE_GAMUTS
        colors = {} if is_srgb else SRGB_COLORS
        pixels = self._reformatter.reformat(frame, format="rgba" if has_alpha else "rgb24", **colors)
        picture = Image.fromarray(pixels.to_ndarray())
        ratio = self._video.stream.sample_aspect_ratio or 1
        if ratio != 1 and 1 / MAX_PIXEL_RATIO <= ratio <= MAX_PIXEL_RATIO:
            width = max(1, round(picture.width * ratio))
            picture = picture.resize((width, picture.height), Image.Resampling.BILINEAR)
        turn = _turn(frame)
        if turn is not None:
            picture = picture.transpose(turn)
        return convert_picture(picture, source.name, source.field)

    def _advance(self) -> None:
        assert self._following is not None
        self._current, self.seconds = self._following
        self.number += 1
        self._following = self._take()

    def _take(self) -> tuple[av.VideoFrame, float] | None:
        """Decode a frame; return it with its time after the first one, or None at the end."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        if self._origin is None:
            self._origin = frame.time or 0.0
        elif frame.time is None:  # raw streams have no timestamps
            self._time += 1 / self._video.rate
        else:
            self._time = max(self._time, frame.time - self._origin)
        return frame, self._time

    def _decode(self) -> Iterator[av.VideoFrame]:
        for packet in self._video.packets():
            try:
                frames = self._decoder.decode(packet)
            except av.error.FFmpegError:  # the frame before is shown longer
                self.is_damaged = True
                continue
            for frame in frames:
                self.is_damaged |= frame.is_corrupt
                yield frame

    def _choose_decoder(self) -> Any:
        """Return the track's decoder; for transparent VP8 and VP9, one that decodes transparency."""
        stream = self._video.stream
        decoder = stream.codec_context
        if stream.metadata.get("alpha_mode") == "1" and decoder.name in ALPHA_DECODERS:
            decoder = av.CodecContext.create(ALPHA_DECODERS[decoder.name], "r")
        decoder.thread_count = min(MAX_THREADS, os.cpu_count() or 1)
        return decoder


def _turn(frame: av.VideoFrame) -> Image.Transpose | None:
    """Return how to turn a frame upright."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    return TURNS.get((_sign(a), _sign(b), _sign(c), _sign(d)))


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


class HeldVideo:
    """The video that this process reads, kept between two frames."""

    def __init__(self) -> None:
        self._key = ""
        self._frames: VideoFrames | None = None

    @property
    def is_open(self) -> bool:
        """Whether a video is held."""
        return self._frames is not None

    def at(
        self, source: Source, key: str, number: int | None, seconds: float | None, start: float = 0.0
    ) -> VideoFrames:
        """Return a video at a position; see :meth:`VideoFrames.go_to`.

        Args:
            source: The file.
            key: Identifies the reader. The same one goes forward, except to an earlier position: then it
                starts again.
            number: Number of the frame.
            seconds: Instead, a time after the first frame.
            start: See :class:`VideoFrames`.
        """
        if self._frames is not None and (key != self._key or self._frames.is_after(number, seconds)):
            self._frames.close()
            self._frames = None
        if self._frames is None:
            self._frames, self._key = VideoFrames(source, start), key
        self._frames.go_to(number, seconds)
        return self._frames


held_video = HeldVideo()
