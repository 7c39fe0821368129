"""Decode the files of requests in a decoder process, within limits of time and memory."""

from __future__ import annotations

import logging
from typing import Any, BinaryIO

import numpy as np

from ..errors import InvalidInput
from .admission import LARGE_BYTES, admission
from .decoder_messages import shared_file
from .decoder_process import DecoderPool, DecodingFailed, Failure, Limits
from .picture_decoding import MAX_PIXELS
from .sound import MAX_VALUES

logger = logging.getLogger(__name__)

SPARE_MEMORY = 2**28
MEASURING = Limits(5, 60, 3 * SPARE_MEMORY)  # opening a WebP image allocates its canvas
PICTURE_SECONDS, PICTURE_WALL_SECONDS = 15.0, 120.0
# Of the decoded size: a progressive JPEG's coefficients, conversions and a rotated copy.
PICTURE_COPIES = 6
SOUND_SECONDS, SOUND_WALL_SECONDS = 60.0, 300.0
VIDEO_SECONDS, VIDEO_WALL_SECONDS = 120.0, 600.0  # to read all packets and decode a frame
VIDEO_STEP_SECONDS = 60.0  # to decode a frame that follows soon
VIDEO_MEMORY = 2**31  # reference frames of 4K in 10 bits
SOUND_COPIES = 3  # of the decoded size: FFmpeg's frames, the joined samples, and a conversion

Bytes = bytes | bytearray | memoryview
pool = DecoderPool()

SENTENCES: dict[str, dict[Failure, str]] = {
    "picture": {
        "time": "takes too long to decode. Save it again as PNG or JPEG.",
        "memory": "needs too much memory to decode. Use a smaller image.",
        "crash": "cannot be read as an image. Use an undamaged PNG, JPEG or WebP file.",
    },
    "sound": {
        "time": "takes too long to decode. Convert it to WAV or FLAC.",
        "memory": "needs too much memory to decode. Use shorter audio or fewer channels.",
        "crash": "cannot be read as audio. Use an undamaged WAV, FLAC, MP3, OGG or M4A file.",
    },
    "video": {
        "time": "takes too long to decode. Convert it to MP4 (H.264).",
        "memory": "needs too much memory to decode. Use a smaller video.",
        "crash": "cannot be read as a video. Use an undamaged MP4, MOV, MKV, WebM or AVI file.",
    },
}


def decode(
    task: str, source: BinaryIO | Bytes, name: str, field: str, max_seconds: float | None = None
) -> tuple[dict[str, Any], np.ndarray]:
    """Decode a file in a decoder process.

    The header is read first. The file then waits until there is room for what the header announces, and may
    use memory in proportion to it. If that is not enough because the header is wrong, it is decoded once more
    as a file of the maximum size.

    Args:
        task: "picture", "sound", "sound_length" or "video"; see :mod:`.decoder` for the replies.
        source: An open file, or the bytes of one.
        name: What the file is called in errors.
        field: The request's field, for errors.
        max_seconds: For audio, see :func:`multitalk.media.sound_decoding.decode_sound`.

    Returns:
        The reply, and its bytes, uint8 ``[n]``.

    Raises:
        InvalidInput: The file cannot be decoded, or not within the limits.
        Busy: Other requests use the memory for decoding.
        Cancelled: The caller has gone.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        with shared_file(source) as file:
            return decode(task, file, name, field, max_seconds)
    kind = task.removesuffix("_length")
    options = {"max_seconds": max_seconds} if kind == "sound" else {}
    job = {"task": task, "name": name, "field": field, "options": options}
    try:
        reply, payload = _decode(kind, job, source)
    except DecodingFailed as error:
        if error.trace:
            logger.warning("%s could not be decoded: %s", field, error.trace)
        reply = {"error": f"{field} ({name}) {SENTENCES[kind][error.reason]}", "field": field}
    if "error" in reply:
        raise InvalidInput(reply["error"], reply["field"])
    return reply, payload


def _decode(kind: str, job: dict[str, Any], source: BinaryIO) -> tuple[dict[str, Any], np.ndarray]:
    largest = 4 * (MAX_VALUES if kind == "sound" else MAX_PIXELS)
    with admission.decoding(0):
        measured, _ = pool.run(job | {"task": f"measure_{kind}", "options": {}}, source, MEASURING)
    if "error" in measured:
        return measured, _
    size = min(max(measured["bytes"], 0), largest)
    try:
        return _decode_as(size, kind, job, source)
    except DecodingFailed as error:
        if error.reason != "memory" or size == largest:
            raise
    return _decode_as(largest, kind, job, source)  # the header of a compressed file may announce too little


def _decode_as(
    size: int, kind: str, job: dict[str, Any], source: BinaryIO
) -> tuple[dict[str, Any], np.ndarray]:
    with admission.decoding(size):
        return pool.run(job, source, limits(kind, size), keep=size <= LARGE_BYTES)


def run_task(
    task: str, source: BinaryIO, name: str, unreadable: str, limits: Limits, options: dict[str, Any]
) -> tuple[dict[str, Any], np.ndarray]:
    """Run another task on a file, which decodes nothing.

    Args:
        task: Name of the task; see :mod:`.decoder`.
        source: An open file.
        name: What the file is called in errors.
        unreadable: The error if the task fails.
        limits: Limits of the task.
        options: Further arguments of the task.

    Raises:
        InvalidInput: `unreadable`, or the task's own error.
    """
    try:
        with admission.decoding(0):
            job = {"task": task, "name": name, "field": "file", "options": options}
            reply, payload = pool.run(job, source, limits)
    except DecodingFailed:
        reply = {"error": unreadable, "field": None}
    if "error" in reply:
        raise InvalidInput(reply["error"], reply["field"])
    return reply, payload


def limits(kind: str, size: int) -> Limits:
    """Return the limits for decoding a picture, sound or video of a decoded size in bytes."""
    if kind == "video":
        return Limits(VIDEO_SECONDS, VIDEO_WALL_SECONDS, VIDEO_MEMORY)
    size = max(size, LARGE_BYTES)
    if kind == "picture":
        return Limits(PICTURE_SECONDS, PICTURE_WALL_SECONDS, SPARE_MEMORY + PICTURE_COPIES * size)
    return Limits(SOUND_SECONDS, SOUND_WALL_SECONDS, SPARE_MEMORY + SOUND_COPIES * size)
