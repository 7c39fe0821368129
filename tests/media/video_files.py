"""Video files for the tests, made in memory: every frame has a color of its own."""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np

RATE = 30
SIZE = (96, 64)  # width, height
CLOCK = 90_000  # ticks per second of a file whose frames have times
SAME_COLOR = 7  # what compression changes at most


def color(number: int) -> np.ndarray:
    """The color of a frame; the upper left quarter is white."""
    return np.array([(number * 37) % 256, (number * 91 + 40) % 256, (number * 53 + 90) % 256])


def frame_pixels(number: int, channels: int = 3) -> np.ndarray:
    """A frame; with 4 channels, its uppermost rows are transparent."""
    width, height = SIZE
    pixels = np.full((height, width, channels), 255, np.uint8)
    pixels[..., :3] = color(number)
    pixels[: height // 2, : width // 2, :3] = 255
    if channels == 4:
        pixels[: height // 8, :, 3] = 0
    return pixels


@contextlib.contextmanager
def usual_scheduling() -> Iterator[None]:
    """Undo what SVT-AV1 does to a thread of root: real-time priority, which its children inherit."""
    if not hasattr(os, "sched_getscheduler"):  # not Linux
        yield
        return
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)


def video(
    container: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    frames: int = 40,
    rate: int = RATE,
    times: Sequence[float] | None = None,
    matrix: Sequence[int] | None = None,
    ratio: Fraction | None = None,
    sound: np.ndarray | None = None,
    sound_start: float = 0.0,
    draw: Callable[[int, int], np.ndarray] = frame_pixels,
    **options: Any,
) -> bytes:
    """A video file.

    Args:
        container: FFmpeg's name of the format.
        codec: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of the pixel format; with "a" in it, transparent.
        frames: Number of frames.
        rate: Frames per second.
        times: Seconds at which each frame is shown, instead of a constant rate.
        matrix: a, b, c, d of the display matrix.
        ratio: Width of a pixel to its height.
        sound: Samples ``[n]`` at 16 kHz.
        sound_start: Seconds at which they start.
        draw: Returns the pixels of a frame by its number and the number of channels.
        options: Options of the encoder.
    """
    content = io.BytesIO()
    clock = Fraction(1, rate if times is None else CLOCK)
    channels = 4 if "a" in pixels.replace("gray", "") else 3
    with usual_scheduling(), av.open(content, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate, options=options)
        (stream.width, stream.height), stream.pix_fmt = SIZE, pixels
        stream.codec_context.time_base = clock
        if ratio is not None:
            stream.codec_context.sample_aspect_ratio = ratio
        if matrix is not None:
            a, b, c, d = (65536 * value for value in matrix)
            stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        track: Any = None if sound is None else file.add_stream("aac", rate=16000, layout="mono")
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(
                draw(number, channels), format="rgba" if channels == 4 else "rgb24"
            )
            frame.pts = number if times is None else round(times[number] * CLOCK)
            frame.time_base = clock
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if sound is not None:
            samples = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 16000, round(sound_start * 16000)
            samples.time_base = Fraction(1, 16000)
            file.mux(track.encode(samples))
            file.mux(track.encode())
    return content.getvalue()


SCENE_COLORS = ((200, 60, 50), (40, 160, 70), (50, 70, 190))


def scenes_video(lengths: Sequence[int], colors: Sequence[int] = (0, 1, 2), **options: Any) -> bytes:
    """A video of scenes with hard cuts, in each of which a bright bar moves to the right.

    Args:
        lengths: Frames of each scene.
        colors: Their index in ``SCENE_COLORS``; the lower half of every frame has that color.
        options: See :func:`video`.
    """
    starts = np.cumsum([0, *lengths])

    def draw(number: int, channels: int) -> np.ndarray:
        width, height = SIZE
        scene = int(np.searchsorted(starts, number, "right")) - 1
        pixels = np.full((height, width, channels), 255, np.uint8)
        pixels[..., :3] = SCENE_COLORS[colors[scene]]
        bar = 2 * (number - starts[scene]) % (width - 8)
        pixels[: height // 2, bar : bar + 8, :3] = 230
        return pixels

    return video(frames=int(starts[-1]), draw=draw, **options)


def scene_of(picture: Any) -> int:
    """The index in ``SCENE_COLORS`` of a frame of such a video."""
    shown = np.asarray(picture)[-3, -3].astype(int)
    return int(np.argmin([np.abs(np.array(each) - shown).sum() for each in SCENE_COLORS]))


def gray_hdr_video(levels: Sequence[float], transfer: int) -> bytes:
    """A lossless H.264 video of gray stripes of 16 pixels in 10 bits, BT.2020.

    Args:
        levels: Of the signal, 0 to 1.
        transfer: Code of the transfer function (H.273): 16 is PQ, 18 is HLG.
    """
    content = io.BytesIO()
    width, height = 16 * len(levels), 32
    luma = np.tile(np.repeat(64 + np.array(levels) * 876, 16).round().astype("<u2"), (height, 1))
    frame = av.VideoFrame(width, height, "yuv420p10le")
    planes = (luma, *(np.full((height // 2, width // 2), 512, "<u2"),) * 2)
    for plane, values in zip(frame.planes, planes, strict=True):
        padding = plane.line_size // 2 - values.shape[1]
        plane.update(np.pad(values, ((0, 0), (0, padding))).tobytes())
    with av.open(content, "w", format="mp4") as file:
        # not x265: writing its lossless frames into an mp4 fails now and then
        stream: Any = file.add_stream("libx264", rate=RATE, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p10le"
        for target in (stream.codec_context, frame):
            target.color_trc, target.color_primaries, target.colorspace, target.color_range = (
                transfer,
                9,
                9,
                1,
            )
        frame.pts = 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return content.getvalue()


def with_edit_list(content: bytes, first: int, last: int) -> bytes:
    """Cut an mp4 to some of its frames by its edit list; the others stay in the file."""
    edited = bytearray(content)
    at = edited.index(b"elst")
    (delay,) = struct.unpack_from(">i", edited, at + 16)
    tick = 512  # of the mp4's clock, per frame at this rate
    struct.pack_into(">Ii", edited, at + 12, (last + 1 - first) * 1000 // RATE, delay + first * tick)
    return bytes(edited)


def number_of(picture: Any) -> int:
    """The number of the frame in a picture, by its color."""
    shown = np.asarray(picture)[-3, -3].astype(int)
    numbers = [n for n in range(200) if np.abs(color(n) - shown).max() <= SAME_COLOR]
    assert len(numbers) == 1, (shown, numbers)
    return numbers[0]
