"""What every speech engine is: words, a voice, a language and a speed in; sound and word times out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ..media.sound import Sound


@dataclass(frozen=True)
class Word:
    """When a word is said.

    Attributes:
        text: The word as written, with its punctuation.
        start, end: Seconds.
    """

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Utterance:
    """What an engine makes of a text.

    Attributes:
        sound: One channel, without silence at its ends.
        words: Times from the sound's beginning; empty where the engine can't tell.
    """

    sound: Sound
    words: tuple[Word, ...] = ()


class SpeechEngine(Protocol):
    """A text-to-speech engine; it keeps what it loads, and may be used from several threads.

    Attributes:
        name: As the log, the result and ``doctor`` call it.
        rate: Samples per second of everything it says.
    """

    name: str
    rate: int

    def voices(self) -> tuple[str, ...]:
        """Names of its voices."""
        ...

    def languages(self) -> tuple[str, ...]:
        """Codes of its languages, Kokoro's letters first."""
        ...

    def default_voices(self, languages: Mapping[str, str]) -> dict[str, str]:
        """A voice for each person, different ones where it can.

        Args:
            languages: Code of the language by person; both people are in it.
        """
        ...

    def resolve_voice(self, voice: str) -> str:
        """The voice that will be heard when this one is asked for.

        Raises:
            InvalidInput: The engine has nothing for it; the sentence lists what there is.
        """
        ...

    def say(self, text: str, voice: str, language: str = "a", speed: float = 1.0) -> Utterance:
        """Say a text.

        Args:
            text: The words, on one line.
            voice: What :meth:`resolve_voice` takes.
            language: One of :meth:`languages`.
            speed: 1 is the voice's own.

        Raises:
            InvalidInput: The voice, language or speed can't be used, or nothing of the text can be spoken.
        """
        ...
