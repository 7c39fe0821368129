"""Reading audio (audio files, tracks of videos, bytes, arrays)."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInput
from .files import open_file
from .sound import Sound, check_extent
from .sound_decoding import decode_sound

# Wider integers are refused, since their full scale is unknown.
ARRAY_TYPES = ("uint8", "int16", "int32", "float16", "float32", "float64")


def read_sound(source: Any, field: str = "audio", max_seconds: float | None = None) -> Sound:
    """Read audio with its original sample rate and channels.

    Args:
        source: A path, the bytes of a file, ``(samples, rate)`` with samples ``[n]`` or ``[n, channels]``
            (floating point, or uint8, int16 or int32 at full scale), or a ``Sound``. Of a video, the
            first audio track is read.
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
        sound = replace(sound, warnings=source.warnings)
    elif isinstance(source, (tuple, list)):
        if len(source) != 2:
            raise InvalidInput(f"{field} must be (samples, rate), not {len(source)} values.", field)
        sound = _from_array(source[0], source[1], field, max_seconds)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise InvalidInput(f"{field} is empty (0 bytes). Provide an audio file.", field)
        sound = decode_sound(io.BytesIO(source), f"{len(source)} bytes", field, max_seconds=max_seconds)
    elif isinstance(source, (str, Path)):
        with open_file(source, field, "audio") as file:
            sound = decode_sound(file, f"{str(source)!r}", field, max_seconds=max_seconds)
    else:
        raise InvalidInput(
            f"{field} must be a path, the bytes of a file, or (samples, rate), not {type(source).__name__}.",
            field,
        )
    if not np.isfinite(sound.samples).all():
        raise InvalidInput(f"{field} contains samples that are not finite (NaN or infinity).", field)
    return sound


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
    return Sound(_as_float(array[:used]), whole_rate)


def _as_float(array: np.ndarray) -> np.ndarray:
    """Convert values of any type in ``ARRAY_TYPES`` to float32 with full scale at 1."""
    if array.dtype == np.uint8:  # 8-bit audio is unsigned, with silence at 128
        return (array.astype(np.float32) - 128.0) / 128.0
    if array.dtype.kind in "iu":
        return (array / float(2 ** (8 * array.dtype.itemsize - 1))).astype(np.float32)
    return array.astype(np.float32)
