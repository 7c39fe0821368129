"""Voices on one timeline, and the soundtrack of the video file (docs/MODEL.md, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InvalidInput
from .sound import MAX_VALUES, Sound, aac_channels, aac_rate, fit_for_aac, resample, silence

JOINT_SECONDS = 0.005


def together(sounds: Sequence[Sound]) -> list[Sound]:
    """Start all tracks together ("para"): shorter ones are padded with silence."""
    seconds = max(sound.seconds for sound in sounds)
    return [pad(sound, seconds) for sound in sounds]


def in_order(sounds: Sequence[Sound]) -> list[Sound]:
    """Play the tracks one after another ("add"); each is silent while the others play."""
    tracks = []
    for index, sound in enumerate(sounds):
        before, after = (
            silence(sum(other.seconds for other in others), sound.rate, sound.channels)
            for others in (sounds[:index], sounds[index + 1 :])
        )
        tracks.append(_join(_join(before, sound), after))
    return tracks


def check_mix(sounds: Sequence[Sound], turns: str) -> None:
    """Check that the mix of sounds has at most ``MAX_VALUES`` values.

    A sound with a high sample rate and one with many channels give a mix with both, larger than either.

    Args:
        sounds: At least one.
        turns: "together" or "in_order".

    Raises:
        InvalidInput: The result of :func:`file_sound` would be too large.
    """
    rate = max(aac_rate(sound.rate) for sound in sounds)
    channels = max(aac_channels(sound.channels) for sound in sounds)
    lengths = [sound.seconds for sound in sounds]
    seconds = sum(lengths) if turns == "in_order" else max(lengths)
    if len(sounds) > 1 and seconds * rate * channels > MAX_VALUES:
        raise InvalidInput(
            f"audio has too much data when mixed ({channels} channels at {rate} Hz for {seconds:.1f} "
            "seconds). Use fewer channels, a lower sample rate or shorter audio.",
            "audio",
        )


def file_sound(sounds: Sequence[Sound], turns: str) -> Sound:
    """Return the audio of the video file: one speaker's sound unchanged, or the mix of several.

    Args:
        sounds: At least one, person 1 first.
        turns: "together" or "in_order".
    """
    if len(sounds) == 1:
        return sounds[0]
    arrange = in_order if turns == "in_order" else together
    # before mixing, so that the mix is not larger than the file can hold
    return soundtrack(arrange([fit_for_aac(sound) for sound in sounds]))


def joined(first: Sound, second: Sound) -> Sound:
    """Play a sound after another one, with the higher sample rate and number of channels of both.

    A jump between the two would be heard as a click: it fades within ``JOINT_SECONDS``. Two parts of the same
    sound have none.
    """
    first, second = fit_for_aac(first), fit_for_aac(second)
    rate, channels = max(first.rate, second.rate), max(first.channels, second.channels)
    before, after = (_spread(_resample_to_the_edge(sound, rate), channels) for sound in (first, second))
    if len(before) and len(after):
        fade = np.linspace(1, 0, round(JOINT_SECONDS * rate), dtype=np.float32)[: len(after), None]
        after = np.concatenate([after[: len(fade)] + (before[-1] - after[0]) * fade, after[len(fade) :]])
    return Sound(np.concatenate([before, after]), rate)


def _resample_to_the_edge(sound: Sound, rate: int) -> np.ndarray:
    """Resample without the fading at both ends where a resampler meets silence; ``[n, channels]``."""
    if sound.rate == rate or not len(sound.samples):
        return resample(sound, rate).samples
    second = ((sound.rate, sound.rate), (0, 0))  # a whole number of samples at every rate
    padded = replace(sound, samples=np.pad(sound.samples, second, mode="edge"))
    return resample(padded, rate).samples[rate:-rate]


def trim(sound: Sound, seconds: float) -> Sound:
    """Keep the first seconds of a sound."""
    return replace(sound, samples=sound.samples[: round(seconds * sound.rate)])


def shifted(sound: Sound, seconds: float) -> Sound:
    """Start a sound later, after silence, or earlier (a negative number of seconds), without its start."""
    if seconds < 0:
        return replace(sound, samples=sound.samples[round(-seconds * sound.rate) :])
    return replace(_join(silence(seconds, sound.rate, sound.channels), sound), warnings=sound.warnings)


def repeated(sound: Sound, period: float, seconds: float) -> Sound:
    """Repeat a sound up to a length in seconds; every repetition starts a period after the one before."""
    once = pad(trim(sound, period), period)
    return replace(sound, samples=np.resize(once.samples, (round(seconds * sound.rate), sound.channels)))


def with_background(voices: Sound, background: Sound, volume: float, seconds: float) -> Sound:
    """Mix a sound under the voices.

    Args:
        voices: The voices.
        background: The other sound; it is cut where the video ends.
        volume: Its volume, 0 to 1.
        seconds: Length of the video.
    """
    under = trim(background, seconds)
    under = replace(under, samples=under.samples * np.float32(volume))
    return soundtrack([fit_for_aac(voices), fit_for_aac(under)])


def between(sound: Sound, start: float, end: float) -> Sound:
    """Cut a sound from one second to another; consecutive cuts join without a gap."""
    return Sound(sound.samples[round(start * sound.rate) : round(end * sound.rate)], sound.rate)


def soundtrack(tracks: list[Sound]) -> Sound:
    """Sum the speakers' tracks.

    Args:
        tracks: One track per speaker on one timeline, with any sample rates and channel counts.

    Returns:
        Sound with the highest sample rate and channel count among the tracks. A mono track is copied to all
        channels, one with fewer channels to the first ones. The sum is scaled down only if its peak exceeds
        full scale.
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


def pad(sound: Sound, seconds: float) -> Sound:
    """Append silence up to a length in seconds."""
    missing = round(seconds * sound.rate) - len(sound.samples)
    return _join(sound, silence(missing / sound.rate, sound.rate, sound.channels)) if missing > 0 else sound


def _join(first: Sound, second: Sound) -> Sound:
    return Sound(np.concatenate([first.samples, second.samples]), first.rate)


def _spread(samples: np.ndarray, channels: int) -> np.ndarray:
    """Expand samples ``[n, c]`` to ``[n, channels]``: mono to all channels, others to the first c."""
    if samples.shape[1] == channels:
        return samples
    if samples.shape[1] == 1:
        return np.repeat(samples, channels, axis=1)
    return np.pad(samples, ((0, 0), (0, channels - samples.shape[1])))
