"""Reading audio (audio files, tracks of videos, bytes, arrays), and AAC's sample rates."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import InvalidInput
from ..runtime.environment import max_audio_seconds
from .files import open_file

MIN_RATE, MAX_RATE = 4_000, 768_000
MAX_CHANNELS = 32
# Of 4 bytes each: at most 1 GiB, whatever sample rate and channel count a small compressed file has.
MAX_VALUES = 2**28
# Wider integers are refused, since their full scale is unknown.
ARRAY_TYPES = ("uint8", "int16", "int32", "float16", "float32", "float64")
# FFmpeg's names of formats that contain their audio. Playlists, for example, are excluded: they would make
# the decoder open other files.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpegts,mpeg,mp3,mp2,aac,ac3,eac3,flac,ogg,wav,w64,aiff,"
    "caf,amr,amrnb,amrwb,au,wv,ape,tta"
)


@dataclass(frozen=True, eq=False)
class Sound:
    """Audio samples with their sample rate.

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
        """Return the channels' mean, float32 ``[n]``, for the audio encoder (docs/MODEL.md, section 4)."""
        return np.asarray(np.mean(self.samples, axis=1), np.float32)

    def is_silent(self, threshold: float = 1e-4) -> bool:
        """Whether all samples are below the threshold (default: 80 dB below full scale)."""
        return bool(np.max(np.abs(self.samples), initial=0.0) < threshold)


def silence(seconds: float, rate: int, channels: int = 1) -> Sound:
    """Create silence of a length in seconds."""
    return Sound(np.zeros((round(seconds * rate), channels), np.float32), rate)


def resample(sound: Sound, rate: int) -> Sound:
    """Resample a sound with librosa's default resampler."""
    if rate == sound.rate:
        return sound
    import soxr

    samples = soxr.resample(sound.samples, sound.rate, rate, quality="HQ")
    return Sound(np.ascontiguousarray(samples, np.float32), rate)


def read_sound(source: Any, field: str = "audio") -> Sound:
    """Read audio with its original sample rate and channels.

    Args:
        source: A path, the bytes of a file, ``(samples, rate)`` with samples ``[n]`` or ``[n, channels]``
            (floating point, or uint8, int16 or int32 at full scale), or a ``Sound``. Of a video, the
            first audio track is read.
        field: The request's field, for errors.

    Returns:
        The sound; for a WAV file equal to ``librosa.load(path, sr=None, mono=False)``.

    Raises:
        InvalidInput: The audio cannot be read, is empty, is longer than ``MAX_AUDIO_SECONDS``, or contains
            values that are not finite.
    """
    if isinstance(source, Sound):
        sound = _from_array(source.samples, source.rate, field)
    elif isinstance(source, (tuple, list)):
        if len(source) != 2:
            raise InvalidInput(f"{field} must be (samples, rate), not {len(source)} values.", field)
        sound = _from_array(source[0], source[1], field)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise InvalidInput(f"{field} is empty (0 bytes). Provide an audio file.", field)
        sound = _from_file(io.BytesIO(source), f"{len(source)} bytes", field)
    elif isinstance(source, (str, Path)):
        with open_file(source, field, "audio") as file:
            sound = _from_file(file, f"{str(source)!r}", field)
    else:
        raise InvalidInput(
            f"{field} must be a path, the bytes of a file, or (samples, rate), not {type(source).__name__}.",
            field,
        )
    if not np.isfinite(sound.samples).all():
        raise InvalidInput(f"{field} contains samples that are not finite (NaN or infinity).", field)
    return sound


def _from_array(samples: Any, rate: Any, field: str) -> Sound:
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
    _check_extent(len(array), whole_rate, array.shape[1], field)
    return Sound(_as_float(array), whole_rate)


def _as_float(array: np.ndarray) -> np.ndarray:
    """Convert values of any type in ``ARRAY_TYPES`` to float32 with full scale at 1."""
    if array.dtype == np.uint8:  # 8-bit audio is unsigned, with silence at 128
        return (array.astype(np.float32) - 128.0) / 128.0
    if array.dtype.kind in "iu":
        return (array / float(2 ** (8 * array.dtype.itemsize - 1))).astype(np.float32)
    return array.astype(np.float32)


def _check_extent(samples: int, rate: int, channels: int, field: str) -> None:
    """Check the size of audio, before or during decoding."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidInput(
            f"{field} must have a sample rate from {MIN_RATE} to {MAX_RATE} Hz, not {rate} Hz.", field
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise InvalidInput(f"{field} must have 1 to {MAX_CHANNELS} channels, not {channels}.", field)
    limit = max_audio_seconds()
    if samples > limit * rate:
        raise InvalidInput(
            f"{field} is longer than {limit:g} seconds. Shorten it, or raise MAX_AUDIO_SECONDS.", field
        )
    if samples * channels > MAX_VALUES:
        raise InvalidInput(
            f"{field} has too much data ({channels} channels at {rate} Hz). "
            "Use fewer channels or a lower sample rate.",
            field,
        )


def _from_file(file: BinaryIO, name: str, field: str) -> Sound:
    """Decode an open file with libsndfile if it supports the format, else with FFmpeg."""
    sound = _decode_with_soundfile(file, field)
    if sound is None:
        file.seek(0)
        sound = _decode_with_ffmpeg(file, name, field)
    if not len(sound.samples):
        raise InvalidInput(f"{field} ({name}) contains no audio. Provide another file.", field)
    return sound


def _decode_with_soundfile(file: BinaryIO, field: str) -> Sound | None:
    """Decode with libsndfile; None if it cannot read the file."""
    import soundfile

    try:
        # Without the file's name, so that only its content determines the format.
        with soundfile.SoundFile(_Nameless(file)) as reader:
            if reader.frames >= 2**62:  # the header has no length; FFmpeg can read the file
                return None
            _check_extent(reader.frames, reader.samplerate, reader.channels, field)
            samples = reader.read(dtype="float32", always_2d=True)
            return Sound(samples, reader.samplerate)
    except InvalidInput:
        raise
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError, MemoryError):
        return None


class _Nameless:
    """A binary file for libsndfile, without a name."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.readinto = getattr(file, "readinto", None)
        self.tell = file.tell
        self.write = file.write
        self._seek = file.seek

    def seek(self, offset: int, whence: int = 0) -> int:
        """Seek; an invalid offset in a damaged file is ignored, which libsndfile detects."""
        with contextlib.suppress(OSError, ValueError):
            self._seek(offset, whence)
        return self.tell()


def _decode_with_ffmpeg(file: BinaryIO, name: str, field: str) -> Sound:
    """Decode the first audio track with FFmpeg."""
    import av

    try:
        # tags may be in another encoding than UTF-8
        options = {"format_whitelist": CONTAINERS}
        with av.open(file, "r", options=options, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise InvalidInput(f"{field} ({name}) has no audio track.", field)
            parts: list[np.ndarray] = []
            rate = count = 0
            # Interleaved float for every codec, with the file's rate and channels.
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
            f"{field} ({name}) cannot be read as audio. Use an undamaged WAV, FLAC, MP3, OGG or M4A file, or "
            "a video with an audio track.",
            field,
        ) from None
    return Sound(np.concatenate(parts) if parts else np.zeros((0, 1), np.float32), rate or MIN_RATE)


AAC_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


def aac_rate(rate: int) -> int:
    """Return the highest AAC sample rate that is not above a rate, in Hz."""
    return max((supported for supported in AAC_RATES if supported <= rate), default=AAC_RATES[0])


def aac_channels(channels: int) -> int:
    """Return the channel count for AAC: more channels than it supports become stereo."""
    return channels if channels in AAC_LAYOUTS else 2


def fit_for_aac(sound: Sound) -> Sound:
    """Convert sound to a sample rate and channel count that AAC supports, if necessary."""
    if aac_channels(sound.channels) != sound.channels:
        pair = [sound.samples[:, side::2].mean(axis=1, dtype=np.float32) for side in (0, 1)]
        sound = Sound(np.stack(pair, axis=1), sound.rate)
    return resample(sound, aac_rate(sound.rate))
