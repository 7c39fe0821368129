"""Reading sound: audio files, the sound tracks of videos, bytes, and arrays."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import InvalidInput
from ..runtime.limits import max_audio_seconds
from .files import open_file

MIN_RATE, MAX_RATE = 4_000, 768_000
MAX_CHANNELS = 32
# One value is 4 bytes: 1 GiB, whatever rate and channel count a small, highly compressed file claims to have.
MAX_VALUES = 2**28
# Wider integers are refused: nothing tells whether they hold 16-bit values or use their own full scale.
ARRAY_TYPES = ("uint8", "int16", "int32", "float16", "float32", "float64")
# A file that lists other files (a playlist, say) must not make the decoder open them, so only formats
# that carry their own sound are allowed, by FFmpeg's names.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpegts,mpeg,mp3,mp2,aac,ac3,eac3,flac,ogg,wav,w64,aiff,"
    "caf,amr,amrnb,amrwb,au,wv,ape,tta"
)


@dataclass(frozen=True, eq=False)
class Sound:
    """Sound as it was recorded.

    Args:
        samples: float32 ``[n, channels]``, full scale at -1 and 1.
        rate: Samples per second.
    """

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[1])

    def mono(self) -> np.ndarray:
        """The channels' mean, float32 ``[n]``, as the audio encoder hears it (docs/MODEL.md, section 4)."""
        return np.asarray(np.mean(self.samples, axis=1), np.float32)

    def is_silent(self, threshold: float = 1e-4) -> bool:
        """Whether no sample reaches the threshold (80 dB below full scale)."""
        return bool(np.max(np.abs(self.samples), initial=0.0) < threshold)


def silence(seconds: float, rate: int, channels: int = 1) -> Sound:
    """Silence of a length in seconds."""
    return Sound(np.zeros((round(seconds * rate), channels), np.float32), rate)


def resample(sound: Sound, rate: int) -> Sound:
    """The same sound at another rate, by the resampler that librosa uses by default."""
    if rate == sound.rate:
        return sound
    import soxr

    samples = soxr.resample(sound.samples, sound.rate, rate, quality="HQ")
    return Sound(np.ascontiguousarray(samples, np.float32), rate)


def read_sound(source: Any, field: str = "audio") -> Sound:
    """Reads a sound, at its own rate and with its own channels.

    Args:
        source: A path, a file's bytes, ``(samples, rate)`` with samples ``[n]`` or ``[n, channels]``
            (floating point, or uint8, int16 or int32 at full scale), or a ``Sound``. Of a video, the
            first sound track counts.
        field: What an error calls it.

    Returns:
        The sound; values of a WAV file equal those of ``librosa.load(path, sr=None, mono=False)``.

    Raises:
        InvalidInput: It can't be read, has no sound in it, is longer than ``MAX_AUDIO_SECONDS``, or
            has values that aren't numbers.
    """
    if isinstance(source, Sound):
        sound = _from_array(source.samples, source.rate, field)
    elif isinstance(source, (tuple, list)):
        if len(source) != 2:
            raise InvalidInput(f"{field} has {len(source)} parts, but must be (samples, rate).", field)
        sound = _from_array(source[0], source[1], field)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise InvalidInput(f"{field} is empty (0 bytes), but must be a sound file.", field)
        sound = _from_file(io.BytesIO(source), f"{len(source)} bytes", field)
    elif isinstance(source, (str, Path)):
        with open_file(source, field, "sound") as file:
            sound = _from_file(file, f"{str(source)!r}", field)
    else:
        raise InvalidInput(
            f"{field} is a {type(source).__name__}, but must be a path, a file's bytes, or (samples, rate).",
            field,
        )
    if not np.isfinite(sound.samples).all():
        raise InvalidInput(f"{field} has samples that are not finite numbers (NaN or infinity).", field)
    return sound


def _from_array(samples: Any, rate: Any, field: str) -> Sound:
    """A Sound from an array of any number type, with shape ``[n]`` or ``[n, channels]``."""
    try:
        array = np.asarray(samples)
        whole_rate = int(rate)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"{field} must be (samples, rate): an array of numbers, then Hz.", field) from None
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.dtype.name not in ARRAY_TYPES or isinstance(rate, bool) or whole_rate != rate:
        raise InvalidInput(
            f"{field} must be (samples, rate) with samples [n] or [n, channels] in floating point, int16 or "
            f"int32, but is {array.dtype} {list(np.shape(samples))} at rate {str(rate)[:40]}.",
            field,
        )
    _check_extent(len(array), whole_rate, array.shape[1], field)
    return Sound(_as_float(array), whole_rate)


def _as_float(array: np.ndarray) -> np.ndarray:
    """Values of any number type as float32 with full scale at 1."""
    if array.dtype == np.uint8:  # eight-bit sound is unsigned, with silence at 128
        return (array.astype(np.float32) - 128.0) / 128.0
    if array.dtype.kind in "iu":
        return (array / float(2 ** (8 * array.dtype.itemsize - 1))).astype(np.float32)
    return array.astype(np.float32)


def _check_extent(samples: int, rate: int, channels: int, field: str) -> None:
    """Refuses what is too long or too large to decode; called before and while decoding."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidInput(
            f"{field} has a sample rate of {rate} Hz, but it must be from {MIN_RATE} to {MAX_RATE} Hz.", field
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise InvalidInput(f"{field} has {channels} channels, but must have 1 to {MAX_CHANNELS}.", field)
    limit = max_audio_seconds()
    if samples > limit * rate:
        raise InvalidInput(
            f"{field} is longer than {limit:g} seconds, the most that is accepted: shorten it, or raise "
            "MAX_AUDIO_SECONDS.",
            field,
        )
    if samples * channels > MAX_VALUES:
        raise InvalidInput(
            f"{field} has too much data ({channels} channels at {rate} Hz): use fewer or a lower rate.",
            field,
        )


def _from_file(file: BinaryIO, name: str, field: str) -> Sound:
    """Decodes an open file: with libsndfile where it knows the format, else with FFmpeg."""
    sound = _decode_with_soundfile(file, field)
    if sound is None:
        file.seek(0)
        sound = _decode_with_ffmpeg(file, name, field)
    if not len(sound.samples):
        raise InvalidInput(f"{field} ({name}) is empty: it has no sound in it.", field)
    return sound


def _decode_with_soundfile(file: BinaryIO, field: str) -> Sound | None:
    """The sound, or None where libsndfile can't read the file."""
    import soundfile

    try:
        # A file object without its name, so that the content alone decides the format.
        with soundfile.SoundFile(_Nameless(file)) as reader:
            if reader.frames >= 2**62:  # a stream written without its length, which FFmpeg can still count
                return None
            _check_extent(reader.frames, reader.samplerate, reader.channels, field)
            samples = reader.read(dtype="float32", always_2d=True)
            return Sound(samples, reader.samplerate)
    except InvalidInput:
        raise
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError, MemoryError):
        return None


class _Nameless:
    """The part of a binary file that libsndfile needs, without its name."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.readinto = getattr(file, "readinto", None)
        self.tell = file.tell
        self.write = file.write
        self._seek = file.seek

    def seek(self, offset: int, whence: int = 0) -> int:
        """Seeks; a damaged file's impossible offset stays where it is, which libsndfile then notices."""
        with contextlib.suppress(OSError, ValueError):
            self._seek(offset, whence)
        return self.tell()


def _decode_with_ffmpeg(file: BinaryIO, name: str, field: str) -> Sound:
    """The first sound track of anything FFmpeg can read."""
    import av

    try:
        # a title in another encoding than UTF-8 doesn't make the sound unusable
        options = {"format_whitelist": CONTAINERS}
        with av.open(file, "r", options=options, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise InvalidInput(f"{field} ({name}) has no sound track.", field)
            parts: list[np.ndarray] = []
            rate = count = 0
            # One interleaved float format for every codec; rate and channels stay the file's own.
            to_float = av.AudioResampler(format="flt")
            for decoded in container.decode(container.streams.audio[0]):
                for frame in to_float.resample(decoded):
                    channels, rate = frame.layout.nb_channels, frame.sample_rate
                    count += frame.samples
                    _check_extent(count, rate, channels, field)
                    parts.append(frame.to_ndarray().reshape(-1, channels))
    except InvalidInput:
        raise
    except (av.error.FFmpegError, OSError, ValueError, RuntimeError, MemoryError):
        raise InvalidInput(
            f"{field} ({name}) can't be read as sound: use an undamaged WAV, FLAC, MP3, OGG or M4A file or a "
            "video with a sound track.",
            field,
        ) from None
    return Sound(np.concatenate(parts) if parts else np.zeros((0, 1), np.float32), rate or MIN_RATE)
