"""Interface of the speech engines: text, voice, language and speed in; audio and word times out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..errors import InvalidInput
from ..media.sound import Sound


@dataclass(frozen=True)
class Word:
    """A spoken word.

    Attributes:
        text: The word as written, with its punctuation.
        start, end: Times in seconds.
    """

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Utterance:
    """A spoken text.

    Attributes:
        sound: Mono audio without silence at either end.
        words: Words with times relative to the start of the sound; empty if the engine has no times.
    """

    sound: Sound
    words: tuple[Word, ...] = ()


class SpeechEngine(Protocol):
    """A text-to-speech engine. It caches the models that it loads, and is thread-safe.

    Attributes:
        name: Name in the log, in results and in ``multitalk doctor``.
        rate: Sample rate of its audio in Hz.
    """

    name: str
    rate: int

    def voices(self) -> tuple[str, ...]:
        """Return the names of the voices."""
        ...

    def languages(self) -> tuple[str, ...]:
        """Return the language codes, Kokoro's letters first."""
        ...

    def default_voices(self, languages: Mapping[str, str]) -> dict[str, str]:
        """Choose a default voice for each person, different ones if possible.

        Args:
            languages: Language code of both persons.
        """
        ...

    def resolve_voice(self, voice: str) -> str:
        """Return the voice that the engine uses for a requested voice.

        Raises:
            InvalidInput: No voice fits; the error lists those available.
        """
        ...

    def say(self, text: str, voice: str, language: str = "a", speed: float = 1.0) -> Utterance:
        """Synthesize a text.

        Args:
            text: The text, without line breaks.
            voice: A voice that :meth:`resolve_voice` accepts.
            language: One of :meth:`languages`.
            speed: Speaking rate; 1 is normal.

        Raises:
            InvalidInput: The voice, language or speed is invalid, or the text cannot be pronounced.
        """
        ...


def check_available(kind: str, value: str, available: Iterable[str], engine: str) -> None:
    """Check that an engine has a voice or language.

    Args:
        kind: "voice" or "language".
        value: The requested one.
        available: All that the engine has.
        engine: Name of the engine.
    """
    names = tuple(available)
    if value not in names:
        raise InvalidInput(
            f"speech {kind} {value!r} is not available in {engine}. Use one of {', '.join(names)}.", "speech"
        )


def unpronounceable(text: str, engine: str) -> InvalidInput:
    """Return the error for a text from which an engine makes no sound."""
    return InvalidInput(f"speech has nothing that {engine} can pronounce ({text[:80]!r}).", "speech")
