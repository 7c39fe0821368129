"""Reading audio (audio files, tracks of videos, bytes, arrays)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInput
from .decoding import decode
from .files import open_file
from .sound import Sound, check_extent, check_finite

# Wider integers are refused, since their full scale is unknown.
ARRAY_TYPES = ("uint8", "int16", "int32", "float16", "float32", "float64")


def read_sound(source: Any, field: str = "audio", max_seconds: float | None = None) -> Sound:
    """Read audio with its original sample rate and channels.

    Args:
        source: A path, the bytes of a file, an open file, ``(samples, rate)`` with samples ``[n]`` or
            ``[n, channels]`` (floating point, or uint8, int16 or int32 at full scale), or a ``Sound``. Of a
            video, the first audio track is read.
        field: The request's field, for errors.
        max_seconds: How much of the audio is used at least; None: all of it. If it is set, audio that is too
            long is cut to ``MAX_AUDIO_SECONDS`` instead of refused.

    Returns:
        The sound; for a WAV file equal to ``librosa.load(path, sr=None, mono=False)``.

    Raises:
        InvalidInput: The audio cannot be read, is empty, is longer than ``MAX_AUDIO_SECONDS``, or contains
            values that are not finite.
    """
    if isinstance(source, Sound):
        sound = _from_array(source.samples, source.rate, field, max_seconds)
        return replace(sound, warnings=source.warnings)
    if isinstance(source, (tuple, list)):
        if len(source) != 2:
            raise InvalidInput(f"{field} must be (samples, rate), not {len(source)} values.", field)
        return _from_array(source[0], source[1], field, max_seconds)
    reply, payload = _decode("sound", source, field, max_seconds)
    samples = payload.view(np.float32).reshape(reply["shape"])
    return Sound(samples, reply["rate"], tuple(reply["warnings"]))


def read_length(path: str | Path, field: str = "audio", max_seconds: float | None = None) -> float:
    """Check an audio file as :func:`read_sound` does, and return only its length in seconds."""
    reply, _ = _decode("sound_length", path, field, max_seconds)
    return float(reply["shape"][0] / reply["rate"])


def _decode(
    task: str, source: Any, field: str, max_seconds: float | None
) -> tuple[dict[str, Any], np.ndarray]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise InvalidInput(f"{field} is empty (0 bytes). Provide an audio file.", field)
        return decode(task, source, f"{len(source)} bytes", field, max_seconds)
    if isinstance(source, (str, Path)):
        with open_file(source, field, "audio") as file:
            return decode(task, file, f"{str(source)!r}", field, max_seconds)
    if hasattr(source, "fileno"):
        return decode(task, source, "file", field, max_seconds)
    raise InvalidInput(
        f"{field} must be a path, the bytes of a file, or (samples, rate), not {type(source).__name__}.",
        field,
    )


def _from_array(samples: Any, rate: Any, field: str, max_seconds: float | None) -> Sound:
    """Convert an array ``[n]`` or ``[n, channels]`` to a Sound."""
    try:
        array = np.asarray(samples)
        whole_rate = int(rate)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"{field} must be (samples, rate): an array and a rate in Hz.", field) from None
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.dtype.name not in ARRAY_TYPES or isinstance(rate, bool) or whole_rate != rate:
        raise InvalidInput(
            f"{field} must be (samples, rate) with samples [n] or [n, channels] in floating point, uint8, "
            f"int16 or int32, not {array.dtype} {list(np.shape(samples))} at rate {str(rate)[:40]}.",
            field,
        )
    used = check_extent(len(array), whole_rate, array.shape[1], field, max_seconds)
    values = _as_float(array[:used])
    check_finite(values, field)
    return Sound(values, whole_rate)


def _as_float(array: np.ndarray) -> np.ndarray:
    """Convert values of any type in ``ARRAY_TYPES`` to float32 with full scale at 1."""
    if array.dtype == np.uint8:  # 8-bit audio is unsigned, with silence at 128
        return (array.astype(np.float32) - 128.0) / 128.0
    if array.dtype.kind in "iu":
        return (array / float(2 ** (8 * array.dtype.itemsize - 1))).astype(np.float32)
    return array.astype(np.float32)
