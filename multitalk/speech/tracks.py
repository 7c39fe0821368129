"""From single utterances to one track per person: turns one after the other, everybody equally loud."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..media.sound import Sound
from .engine import Utterance, Word

LOUDNESS = -20.0  # decibels below full scale: the mean power of a person's speech, without the pauses
_PEAK = 0.89  # of full scale (-1 dB): what no sample goes beyond
_WINDOW = 0.05  # seconds
_SPEECH = 0.1  # of the loudest window's level: what is quieter doesn't count as speech


@dataclass(frozen=True)
class SpokenTurn:
    """When a person has a turn.

    Attributes:
        person: "person1" or "person2".
        text: What is said.
        start, end: Seconds of the video.
        words: When each word is said; empty where the engine can't tell.
    """

    person: str
    text: str
    start: float
    end: float
    words: tuple[Word, ...] = ()

    def later(self, seconds: float) -> SpokenTurn:
        """The same turn at a later time."""
        words = tuple(Word(word.text, word.start + seconds, word.end + seconds) for word in self.words)
        return replace(self, start=self.start + seconds, end=self.end + seconds, words=words)

    def until(self, seconds: float) -> SpokenTurn | None:
        """What of the turn is heard when the sound ends after so many seconds; None if nothing is."""
        if self.start >= seconds:
            return None
        words = tuple(
            Word(word.text, word.start, min(word.end, seconds)) for word in self.words if word.start < seconds
        )
        return replace(self, end=min(self.end, seconds), words=words)


def join_lines(lines: Sequence[Utterance], pause: float) -> Utterance:
    """One utterance of several, which have one rate.

    Args:
        lines: At least one.
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
        turns: Person, text and utterance of each, all at one rate.
        pause: Seconds of silence between two turns.

    Returns:
        A track per person who speaks, mono, of equal lengths, silent while the other speaks; and the turns'
        times.
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
        said = [utterance.sound.samples for who, _, utterance in turns if who == person]
        track *= _gain(said, rate)
    return {person: Sound(track, rate) for person, track in tracks.items()}, spoken


def _gain(sounds: Iterable[np.ndarray], rate: int) -> np.float32:
    """The factor that brings a person's speech to ``LOUDNESS``, one for all turns: a whisper stays one."""
    samples = np.concatenate(list(sounds))[:, 0]
    size = round(_WINDOW * rate)
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    windows = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    levels = np.sqrt(np.mean(windows**2, axis=1))
    speech = levels[levels > _SPEECH * levels.max()]
    if not len(speech):
        return np.float32(1)
    wanted = 10 ** (LOUDNESS / 20) / float(np.sqrt(np.mean(speech**2)))
    return np.float32(min(wanted, _PEAK / float(np.max(np.abs(samples)))))
