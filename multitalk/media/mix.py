"""Two voices on one timeline, and the one soundtrack that goes into the file (docs/MODEL.md, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InvalidInput
from .aac import aac_channels, aac_rate, fit_for_aac
from .sound import MAX_VALUES, Sound, resample, silence


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


def check_mix(sounds: Sequence[Sound], turns: str) -> None:
    """Refuse people's sounds that are small each, but together have too much data.

    One of a high rate and one of many channels make a mix that has both.

    Args:
        sounds: One or two.
        turns: "together" or "in_order".

    Raises:
        InvalidInput: Their :func:`file_sound` would have more than ``MAX_VALUES`` values.
    """
    rate = max(aac_rate(sound.rate) for sound in sounds)
    channels = max(aac_channels(sound.channels) for sound in sounds)
    lengths = [sound.seconds for sound in sounds]
    seconds = sum(lengths) if turns == "in_order" else max(lengths)
    if len(sounds) > 1 and seconds * rate * channels > MAX_VALUES:
        raise InvalidInput(
            f"audio has too much data when it is mixed ({channels} channels at {rate} Hz for {seconds:.1f} "
            "seconds): use fewer channels, a lower rate or shorter sounds.",
            "audio",
        )


def file_sound(sounds: Sequence[Sound], turns: str) -> Sound:
    """The sound of the file: one person's own, or two people's, mixed.

    Args:
        sounds: One or two, person 1's first.
        turns: "together" or "in_order".
    """
    if len(sounds) == 1:
        return sounds[0]
    arrange = in_order if turns == "in_order" else together
    # before they are mixed: nothing is computed that the file can't hold anyway
    first, second = (fit_for_aac(sound) for sound in sounds)
    return soundtrack(list(arrange(first, second)))


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
