"""Times of spoken turns and words, as reported in a result."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .engine import Word


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
