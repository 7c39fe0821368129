"""What the decoder process does with a file: each task returns a reply, and bytes in shared memory.

Decoding libraries are imported in the tasks, so that one that decodes pictures has no video libraries.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, BinaryIO

from ..errors import InvalidInput

MAX_SCANS = 100  # progressive JPEGs have about 10, and a file may contain several images

Payload = Any  # bytes-like
Task = Callable[..., tuple[dict[str, Any], Payload]]


def measure_picture(file: BinaryIO, name: str, field: str) -> tuple[dict[str, Any], Payload]:
    """Return the decoded size in bytes that an image's header announces; 0 if it cannot be read.

    Raises:
        InvalidInput: The image has so many scans that decoding takes minutes.
    """
    import warnings

    from .picture_formats import open_picture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open_picture(file) as picture:
                size = picture.width * picture.height * 4  # PIL uses 4 bytes for RGB too
                is_jpeg = picture.format in ("JPEG", "MPO")
        except Exception:  # decoding gives the error
            return {"bytes": 0}, b""
    if is_jpeg:
        _check_scans(file, name, field)
    return {"bytes": size}, b""


def _check_scans(file: BinaryIO, name: str, field: str) -> None:
    """Check the number of a JPEG's scans, each of which costs as much time as a whole baseline image."""
    file.seek(0)
    scans = file.read().count(b"\xff\xda")  # these bytes are always a marker
    if scans > MAX_SCANS:
        raise InvalidInput(
            f"{field} ({name}) has {scans} JPEG scans, but at most {MAX_SCANS} are supported. Save it again.",
            field,
        )


def measure_sound(file: BinaryIO, name: str, field: str) -> tuple[dict[str, Any], Payload]:
    """Return the decoded size in bytes that the header of audio announces; 0 if it cannot be read."""
    import av
    import soundfile

    from .ffmpeg_decoding import CONTAINERS

    with contextlib.suppress(Exception), soundfile.SoundFile(file) as reader:
        return {"bytes": reader.frames * reader.channels * 4}, b""
    file.seek(0)
    options = {"format_whitelist": CONTAINERS}
    with (
        contextlib.suppress(Exception),
        av.open(file, "r", options=options, metadata_errors="replace") as container,
    ):
        stream = next(each for each in container.streams.audio if each.codec_context is not None)
        seconds = float((container.duration or 0) / av.time_base)
        return {"bytes": int(seconds * stream.rate * stream.channels) * 4}, b""
    return {"bytes": 0}, b""


def picture(file: BinaryIO, name: str, field: str) -> tuple[dict[str, Any], Payload]:
    """Decode an image to RGB."""
    from .picture_decoding import decode_picture

    decoded = decode_picture(file, name, field)
    return {"size": decoded.size}, decoded.tobytes()


def sound(file: BinaryIO, name: str, field: str, max_seconds: float | None) -> tuple[dict[str, Any], Payload]:
    """Decode audio to float32."""
    import numpy as np

    from .sound import check_finite
    from .sound_decoding import decode_sound

    decoded = decode_sound(file, name, field, max_seconds=max_seconds)
    check_finite(decoded.samples, field)
    samples = np.ascontiguousarray(decoded.samples, np.float32)
    return {"shape": samples.shape, "rate": decoded.rate, "warnings": decoded.warnings}, samples.data.cast(
        "B"
    )


def sound_length(
    file: BinaryIO, name: str, field: str, max_seconds: float | None
) -> tuple[dict[str, Any], Payload]:
    """Decode audio and return only its length, for a check that needs no samples."""
    reply, _ = sound(file, name, field, max_seconds)
    return reply, b""


def inspection(
    file: BinaryIO, name: str, field: str, trusted: str, own: str
) -> tuple[dict[str, Any], Payload]:
    """Read what a file says about its origin; see :func:`.inspection.inspect_file`."""
    from .inspection import read_inspection

    return read_inspection(file, name, field, trusted, own), b""


def measure_video(file: BinaryIO, name: str, field: str) -> tuple[dict[str, Any], Payload]:
    """Return a frame's size in bytes at most; decoding checks it."""
    from .video_file import MAX_PIXELS

    return {"bytes": 4 * MAX_PIXELS}, b""


def video(file: BinaryIO, name: str, field: str) -> tuple[dict[str, Any], Payload]:
    """Check a video: its length, and its first frame as RGB."""
    from .video_decoding import VideoFrames
    from .video_file import Source
    from .video_length import measure_length

    source = Source(file, name, field)
    length = measure_length(source)
    frames = VideoFrames(source)
    try:
        picture = frames.picture()
    finally:
        frames.close()
    return {"size": picture.size, **asdict(length)}, picture.tobytes()


def video_frame(
    file: BinaryIO,
    name: str,
    field: str,
    key: str,
    number: int | None,
    seconds: float | None,
    known: int | None,
    start: float = 0.0,
) -> tuple[dict[str, Any], Payload]:
    """Decode a frame of a video, and keep the video open for the next frame.

    Args:
        file: The video.
        name: What it is called in errors.
        field: The request's field, for errors.
        key: Identifies the reader of the video.
        number: Number of the frame.
        seconds: Instead, a time after the first frame.
        known: Number of the frame that the reader has; its pixels are not sent again.
        start: No earlier frame will be read: seconds after the first frame.
    """
    from .video_decoding import held_video
    from .video_file import Source

    frames = held_video.at(Source(file, name, field), key, number, seconds, start)
    reply = {"number": frames.number, "is_damaged": frames.is_damaged}
    if frames.number == known:
        return reply, b""
    picture = frames.picture()
    return reply | {"size": picture.size}, picture.tobytes()


def video_cuts(
    file: BinaryIO, name: str, field: str, number: int | None, seconds: float | None
) -> tuple[dict[str, Any], Payload]:
    """Find the cuts of a video up to a position; see :func:`.scene_detection.find_cuts`."""
    from .scene_detection import find_cuts
    from .video_decoding import VideoFrames
    from .video_file import Source

    frames = VideoFrames(Source(file, name, field))
    try:
        return {"cuts": [asdict(cut) for cut in find_cuts(frames, number, seconds)]}, b""
    finally:
        frames.close()


TASKS: dict[str, Task] = {
    task.__name__: task
    for task in (
        *(measure_picture, measure_sound, measure_video),
        *(inspection, picture, sound, sound_length, video, video_cuts, video_frame),
    )
}


def import_libraries(task: str) -> None:
    """Import what a task needs, so that its limit of memory does not include it."""
    if task.endswith("picture"):
        from . import picture_decoding  # noqa: F401
    elif task == "inspection":
        import c2pa  # noqa: F401

        from . import inspection, picture_formats, video_file  # noqa: F401
    elif task == "video_cuts":
        from . import scene_detection, video_decoding  # noqa: F401
    elif task.endswith(("video", "frame")):
        from . import video_decoding  # noqa: F401
    else:
        import av  # noqa: F401
        import soundfile  # noqa: F401

        from . import sound_decoding  # noqa: F401


def holds_video() -> bool:
    """Whether a reader of a video may want its next frame, even if clips take minutes."""
    decoding = sys.modules.get(f"{__package__}.video_decoding")
    return decoding is not None and decoding.held_video.is_open
