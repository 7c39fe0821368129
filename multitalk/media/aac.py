"""Sample rates and channel counts of AAC, the audio codec of the mp4 files."""

from __future__ import annotations

import numpy as np

from .sound import Sound, resample

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
