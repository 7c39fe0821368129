"""Interface of the speech engines, and splitting of text that is too long for one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

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

    def best_voices(self) -> tuple[str, ...]:
        """Return the voices to offer first."""
        ...

    def voice_sex(self, voice: str) -> str:
        """Return "woman" or "man"; empty if it is unknown."""
        ...

    def language_title(self, language: str) -> str:
        """Return the English name of a language; its code if it has no name."""
        ...

    def languages(self) -> tuple[str, ...]:
        """Return the language codes, Kokoro's letters first."""
        ...

    def writings(self, language: str) -> frozenset[str]:
        """Return the writing systems whose words a language reads (``multitalk.speech.writing``)."""
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
    if value in names:
        return
    if len(names) <= FEW_NAMES:
        hint = f"Use one of {', '.join(names)}."
    else:
        similar = difflib.get_close_matches(value, names, n=3, cutoff=0.5) or names[:3]
        hint = f"Use one of {', '.join(similar)} ... ('multitalk doctor --voices' lists all)."
    raise InvalidInput(f"speech {kind} {value!r} is not available in {engine}. {hint}", "speech")


def unpronounceable(text: str, engine: str) -> InvalidInput:
    """Return the error for a text from which an engine makes no sound."""
    return InvalidInput(f"speech has nothing that {engine} can pronounce ({text[:80]!r}).", "speech")


Converted = TypeVar("Converted")
FEW_NAMES = 10  # an error lists so many

_CLOSING = r"[\"'”’»)\]]*"
# The text is split at the first of these patterns that it contains.
_PLACES = (
    re.compile(rf"(?:[.!?…]{_CLOSING}\s+)|(?:[。！？।॥]{_CLOSING}\s*)"),  # between sentences
    re.compile(r"(?:[,;:—–]\s+)|(?:[、，；：]\s*)"),  # between clauses
    re.compile(r"\s+"),  # between words
    re.compile(r"(?s:.)"),  # anywhere
)
_SENTENCE_END = re.compile(rf"[.!?…。！？।॥]{_CLOSING}$")


def cut_text(
    text: str, convert: Callable[[str], Converted], fits: Callable[[Converted], bool]
) -> list[Converted]:
    """Convert a text in pieces that fit, by halving it recursively.

    A text is split between sentences; if it has only one, between clauses, else between words, else anywhere.

    Args:
        text: The text.
        convert: Converts a piece to the engine's input, such as phonemes.
        fits: Whether the converted piece is short enough.

    Returns:
        The converted pieces, in order.
    """
    whole = convert(text)
    if fits(whole) or len(text) < 2:
        return [whole]
    for place in _PLACES:
        cuts = [match.end() for match in place.finditer(text)]
        cuts = [cut for cut in cuts if text[:cut].strip() and text[cut:].strip()]
        if cuts:
            cut = min(cuts, key=lambda cut: abs(cut - len(text) / 2))
            halves = text[:cut].strip(), text[cut:].strip()
            return [piece for half in halves for piece in cut_text(half, convert, fits)]
    return [whole]


def ends_sentence(text: str) -> bool:
    """Whether a text ends with the end of a sentence."""
    return _SENTENCE_END.search(text.rstrip()) is not None
