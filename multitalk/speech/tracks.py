"""Combining utterances to one track per speaker, in turns and with equal loudness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..media.sound import Sound
from .engine import Utterance, Word

LOUDNESS = -20.0  # mean power of a speaker's speech without pauses, in dB relative to full scale
_PEAK = 0.89  # maximum sample value, relative to full scale (-1 dB)
_WINDOW = 0.05  # seconds
_SPEECH = 0.1  # minimum level of speech, relative to the loudest window


def join_lines(lines: Sequence[Utterance], pause: float) -> Utterance:
    """Join utterances of one sample rate.

    Args:
        lines: At least one utterance.
        pause: Seconds of silence between them.
    """
    rate = lines[0].sound.rate
    gap = np.zeros((round(pause * rate), 1), np.float32)
    sounds: list[np.ndarray] = []
    words: list[Word] = []
    place = 0
    for line in lines:
        if sounds:
            sounds.append(gap)
            place += len(gap)
        start = place / rate
        words += [Word(word.text, start + word.start, start + word.end) for word in line.words]
        sounds.append(line.sound.samples)
        place += len(line.sound.samples)
    return Utterance(Sound(np.concatenate(sounds), rate), tuple(words))


def arrange_turns(
    turns: Sequence[tuple[str, str, Utterance]], pause: float
) -> tuple[dict[str, Sound], list[SpokenTurn]]:
    """Put turns on one timeline.

    Args:
        turns: Person, text and utterance of each turn, all with one sample rate.
        pause: Seconds of silence between two turns.

    Returns:
        A mono track per speaker, all of the same length and silent during the other's turns; and the turns
        with their times.
    """
    rate = turns[0][2].sound.rate
    gap = round(pause * rate)
    lengths = [len(utterance.sound.samples) for _, _, utterance in turns]
    total = sum(lengths) + gap * (len(turns) - 1)
    people = sorted({person for person, _, _ in turns})
    tracks = {person: np.zeros((total, 1), np.float32) for person in people}
    spoken = []
    place = 0
    for (person, text, utterance), length in zip(turns, lengths, strict=True):
        tracks[person][place : place + length] = utterance.sound.samples
        turn = SpokenTurn(person, text, 0.0, length / rate, utterance.words)
        spoken.append(turn.later(place / rate))
        place += length + gap
    for person, track in tracks.items():
        track *= _gain([utterance.sound.samples for name, _, utterance in turns if name == person], rate)
    return {person: Sound(track, rate) for person, track in tracks.items()}, spoken


def _gain(sounds: Iterable[np.ndarray], rate: int) -> np.float32:
    """Return the gain that brings a speaker to ``LOUDNESS``, one for all turns: quiet turns stay quiet."""
    samples = np.concatenate(list(sounds))[:, 0]
    size = round(_WINDOW * rate)
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    windows = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    levels = np.sqrt(np.mean(windows**2, axis=1))
    speech = levels[levels > _SPEECH * levels.max()]
    if not len(speech):
        return np.float32(1)
    gain = 10 ** (LOUDNESS / 20) / float(np.sqrt(np.mean(speech**2)))
    return np.float32(min(gain, _PEAK / float(np.max(np.abs(samples)))))


@dataclass(frozen=True)
class SpokenTurn:
    """A turn of one speaker.

    Attributes:
        person: "person1" or "person2".
        text: The spoken text.
        start, end: Times in the video, in seconds.
        words: Words with their times in the video; empty if the engine has no times.
    """

    person: str
    text: str
    start: float
    end: float
    words: tuple[Word, ...] = ()

    def later(self, seconds: float) -> SpokenTurn:
        """Shift the turn to a later time."""
        words = tuple(Word(word.text, word.start + seconds, word.end + seconds) for word in self.words)
        return replace(self, start=self.start + seconds, end=self.end + seconds, words=words)

    def until(self, seconds: float) -> SpokenTurn | None:
        """Cut the turn at the end of the video; None if it starts after that."""
        if self.start >= seconds:
            return None
        words = tuple(
            Word(word.text, word.start, min(word.end, seconds)) for word in self.words if word.start < seconds
        )
        return replace(self, end=min(self.end, seconds), words=words)


@dataclass(frozen=True)
class SpeechReport:
    """Speech in a result.

    Attributes:
        engine: Name of the engine.
        voices: The voice used, by person.
        turns: Turns with their times in the video.
    """

    engine: str
    voices: dict[str, str]
    turns: tuple[SpokenTurn, ...]

    def later(self, seconds: float) -> SpeechReport:
        """Shift all turns to a later time."""
        return replace(self, turns=tuple(turn.later(seconds) for turn in self.turns))

    def until(self, seconds: float) -> SpeechReport:
        """Cut the turns at the end of the video."""
        turns = [part for turn in self.turns if (part := turn.until(seconds)) is not None]
        return replace(self, turns=tuple(turns))
