"""Joining the decoded parts of an audio file, within the limits of its length."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .sound import MIN_RATE, Sound, check_extent, resample

MAX_MIXED_CHANNELS = 2  # of a file whose parts have different channel counts


@dataclass
class _Part:
    """Consecutive audio with one sample rate and channel count."""

    rate: int
    channels: int
    blocks: list[np.ndarray] = field(default_factory=list)


class SoundBuilder:
    """Collects audio while a file is decoded, and what was lost.

    Args:
        name: What the file is called in errors.
        field: The request's field, for errors and warnings.
        max_seconds: How much of the audio is used at least; None: all of it. If it is set, audio that is too
            long is cut instead of refused.

    Attributes:
        seconds: Length so far.
        is_full: Whether the rest of the file is not needed.
        skipped: Length of the parts that could not be decoded, in seconds.
        is_damaged: Whether the file is damaged, apart from `skipped`.
        is_incomplete: Whether the end of the file is missing.
        has_wrong_length: Whether the header says that the file has less audio.
    """

    def __init__(self, name: str, field: str, max_seconds: float | None = None) -> None:
        self.name, self.field, self.max_seconds = name, field, max_seconds
        self._parts: list[_Part] = []
        self.seconds = 0.0
        self.is_full = False
        self.skipped = 0.0
        self.is_damaged = self.is_incomplete = self.has_wrong_length = False

    def room(self, samples: int, rate: int, channels: int) -> int:
        """Return how many samples of the next part are used.

        Raises:
            InvalidInput: The audio is too long, or has an unsupported sample rate or channel count.
        """
        rates = [rate, *(part.rate for part in self._parts)]
        counts = [channels, *(part.channels for part in self._parts)]
        highest = max(rates)
        before = round(self.seconds * highest)
        total = before + -(-samples * highest // rate)
        used = check_extent(total, highest, _joined_channels(counts), self.field, self.max_seconds)
        return samples if used == total else max(0, (used - before) * rate // highest)

    def add(self, samples: np.ndarray, rate: int) -> None:
        """Append samples ``[n, channels]``, float32.

        Raises:
            InvalidInput: See :meth:`room`.
        """
        count, channels = samples.shape
        used = self.room(count, rate, channels)
        self.is_full = used < count
        if not self._parts or (self._parts[-1].rate, self._parts[-1].channels) != (rate, channels):
            self._parts.append(_Part(rate, channels))
        self._parts[-1].blocks.append(samples[:used])
        self.seconds += used / rate

    def add_silence(self, seconds: float) -> None:
        """Append silence after the last samples."""
        last = self._parts[-1]
        self.add(np.zeros((round(seconds * last.rate), last.channels), np.float32), last.rate)

    @property
    def rate(self) -> int:
        """Sample rate of the last part, in Hz."""
        return self._parts[-1].rate if self._parts else MIN_RATE

    def remove_end(self, samples: int) -> None:
        """Remove samples from the end of the last part, as many as it has at most."""
        blocks = self._parts[-1].blocks if self._parts else []
        while samples > 0 and blocks:
            removed = min(samples, len(blocks[-1]))
            blocks[-1] = blocks[-1][: len(blocks[-1]) - removed]
            if not len(blocks[-1]):
                blocks.pop()
            self.seconds -= removed / self.rate
            samples -= removed

    def sound(self) -> Sound:
        """Join the parts, in the highest sample rate."""
        rates, counts = ({part.rate for part in self._parts}, {part.channels for part in self._parts})
        rate, channels = max(rates, default=MIN_RATE), _joined_channels(counts)
        joined = []
        for part in self._parts:
            blocks = part.blocks or [np.zeros((0, part.channels), np.float32)]
            samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
            part.blocks = blocks = []  # frees them before the next part is joined
            joined.append(resample(Sound(_remix(samples, channels), part.rate), rate).samples)
        if not joined:
            joined = [np.zeros((0, 1), np.float32)]
        samples = joined[0] if len(joined) == 1 else np.concatenate(joined)
        sound = Sound(samples, rate)
        return Sound(samples, rate, self._warnings(sound, is_converted=len(rates) > 1 or len(counts) > 1))

    def _warnings(self, sound: Sound, is_converted: bool) -> tuple[str, ...]:
        warnings = []
        used = f"{sound.seconds:.1f} seconds are used."
        if self.has_wrong_length:
            warnings.append(
                f"the header of the file has a wrong length, as after an interrupted recording. All {used}"
            )
        if self.is_damaged or self.skipped:
            about = f" (about {self.skipped:.2f} seconds)" if self.skipped else ""
            warnings.append(f"the file is damaged. The parts that cannot be decoded are skipped{about}.")
        if self.is_incomplete:
            warnings.append(f"the end of the file is missing. Its first {used}")
        if is_converted:
            warnings.append(
                "parts of the file have different sample rates or channel counts. They are converted to "
                f"{sound.rate} Hz and {sound.channels} channel{'s' * (sound.channels > 1)}."
            )
        return tuple(f"{self.field}: {warning}" for warning in warnings)


def _joined_channels(counts: set[int] | list[int]) -> int:
    """Return the channel count of parts joined."""
    most = max(counts, default=1)
    return most if min(counts, default=1) == most else min(most, MAX_MIXED_CHANNELS)


def _remix(samples: np.ndarray, channels: int) -> np.ndarray:
    """Convert samples to one or two channels, unless they already have that many."""
    count = samples.shape[1]
    if count == channels:
        return samples
    if count == 1:
        return np.repeat(samples, channels, axis=1)
    from .ffmpeg_decoding import to_stereo

    return to_stereo(samples)
