"""Two voices on one timeline, and the one soundtrack that goes into the file (REFERENCE, section 4)."""

from __future__ import annotations

import numpy as np

from .sound import Sound, resample, silence


def together(first: Sound, second: Sound) -> tuple[Sound, Sound]:
    """Both people from the start ("para"): the shorter track is padded with silence."""
    seconds = max(first.seconds, second.seconds)
    return _pad(first, seconds), _pad(second, seconds)


def in_order(first: Sound, second: Sound) -> tuple[Sound, Sound]:
    """Person 1's track, then person 2's ("add"): each is silent while the other speaks."""
    return (
        _join(first, silence(second.seconds, first.rate, first.channels)),
        _join(silence(first.seconds, second.rate, second.channels), second),
    )


def trim(sound: Sound, seconds: float) -> Sound:
    """The sound's first seconds."""
    return Sound(sound.samples[: round(seconds * sound.rate)], sound.rate)


def between(sound: Sound, start: float, end: float) -> Sound:
    """The sound from one second to another; what follows each other so joins without a gap."""
    return Sound(sound.samples[round(start * sound.rate) : round(end * sound.rate)], sound.rate)


def soundtrack(tracks: list[Sound]) -> Sound:
    """The sum of everybody's tracks: what the video file sounds like.

    Args:
        tracks: One track a person, on one timeline (``together`` or ``in_order``), of any rates and channels.

    Returns:
        Sound at the highest rate and channel count among the tracks. A mono track goes to every
        channel, one with several goes to the first of them. The sum is scaled down only where its
        peak would exceed full scale.
    """
    rate = max(track.rate for track in tracks)
    channels = max(track.channels for track in tracks)
    parts = [_spread(resample(track, rate).samples, channels) for track in tracks]
    if len(parts) == 1:
        mixed = parts[0]
    else:
        mixed = np.zeros((max(map(len, parts)), channels), np.float32)
        for part in parts:
            mixed[: len(part)] += part
    peak = float(np.max(np.abs(mixed), initial=0.0))
    return Sound(mixed / np.float32(peak) if peak > 1.0 else mixed, rate)


def _pad(sound: Sound, seconds: float) -> Sound:
    missing = round(seconds * sound.rate) - len(sound.samples)
    return _join(sound, silence(missing / sound.rate, sound.rate, sound.channels)) if missing > 0 else sound


def _join(first: Sound, second: Sound) -> Sound:
    return Sound(np.concatenate([first.samples, second.samples]), first.rate)


def _spread(samples: np.ndarray, channels: int) -> np.ndarray:
    """Samples ``[n, c]`` as ``[n, channels]``: mono to all of them, others to the first c."""
    if samples.shape[1] == channels:
        return samples
    if samples.shape[1] == 1:
        return np.repeat(samples, channels, axis=1)
    return np.pad(samples, ((0, 0), (0, channels - samples.shape[1])))
