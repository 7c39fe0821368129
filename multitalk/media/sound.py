"""Audio in memory: samples with their rate, its limits, and what AAC supports."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import InvalidInput
from ..runtime.environment import max_audio_seconds

MIN_RATE, MAX_RATE = 4_000, 768_000
MAX_CHANNELS = 32
# Of 4 bytes each: at most 1 GiB, whatever sample rate and channel count a small compressed file has.
MAX_VALUES = 2**28


@dataclass(frozen=True, eq=False)
class Sound:
    """Audio samples with their sample rate.

    Args:
        samples: float32 ``[n, channels]``, full scale at -1 and 1.
        rate: Samples per second.
        warnings: What was lost when the audio was read, one sentence each.
    """

    samples: np.ndarray
    rate: int
    warnings: tuple[str, ...] = ()

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
        # without a temporary copy
        return bool(max(self.samples.max(initial=0.0), -self.samples.min(initial=0.0)) < threshold)


def silence(seconds: float, rate: int, channels: int = 1) -> Sound:
    """Create silence of a length in seconds."""
    return Sound(np.zeros((round(seconds * rate), channels), np.float32), rate)


def resample(sound: Sound, rate: int) -> Sound:
    """Resample a sound with librosa's default resampler."""
    if rate == sound.rate:
        return sound
    import soxr

    samples = soxr.resample(sound.samples, sound.rate, rate, quality="HQ")
    return replace(sound, samples=np.ascontiguousarray(samples, np.float32), rate=rate)


def check_extent(samples: int, rate: int, channels: int, field: str, max_seconds: float | None = None) -> int:
    """Check the size of audio, before or during decoding.

    Args:
        samples: Samples per channel.
        rate: Samples per second.
        channels: Number of channels.
        field: The request's field, for errors.
        max_seconds: How much of the audio is used at least; None: all of it. If it is set, audio that is too
            long is cut to ``MAX_AUDIO_SECONDS`` instead of refused.

    Returns:
        How many of the samples are used.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidInput(
            f"{field} must have a sample rate from {MIN_RATE} to {MAX_RATE} Hz, not {rate} Hz.", field
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise InvalidInput(f"{field} must have 1 to {MAX_CHANNELS} channels, not {channels}.", field)
    limit = max_audio_seconds()
    most = min(limit * rate, MAX_VALUES // channels)
    if max_seconds is not None and max_seconds * rate <= most:
        return min(samples, int(most))
    if samples > limit * rate:
        raise InvalidInput(
            f"{field} is longer than {limit:g} seconds. Shorten it, set max_seconds to use only its start, "
            "or raise MAX_AUDIO_SECONDS.",
            field,
        )
    if samples > most:
        raise InvalidInput(
            f"{field} has too much data ({channels} channels at {rate} Hz). "
            "Use fewer channels or a lower sample rate.",
            field,
        )
    return samples


def check_finite(samples: np.ndarray, field: str) -> None:
    """Check that samples contain no NaN or infinity."""
    # the minimum and maximum show both, without a temporary copy
    if len(samples) and not (np.isfinite(samples.min()) and np.isfinite(samples.max())):
        raise InvalidInput(f"{field} contains samples that are not finite (NaN or infinity).", field)


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
