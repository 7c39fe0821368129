"""espeak-ng, the embedded speech engine: intelligible speech on any machine, from a library pip installs."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInput
from ..media.sound import Sound
from ..request.voices import KOKORO_VOICES, is_man, parse_mix
from .engine import Utterance, Word
from .espeak_library import RATE, data_folder, language_names
from .espeak_library import synthesize as synthesize_raw

logger = logging.getLogger(__name__)

# Kokoro's codes, so that a request means the same with either engine; espeak's own codes work as well.
LANGUAGES = {
    "a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi",
    "i": "it", "j": "ja", "p": "pt-br", "z": "cmn",
}  # fmt: skip
DEFAULT_VOICES = {"person1": "f2", "person2": "m3"}
# Who speaks for Kokoro's voices: several of each kind, so that two women or two men stay apart.
WOMEN, MEN = ("f2", "f4", "f3", "f5"), ("m3", "m7", "m1", "m4")
WORDS_PER_MINUTE = 165  # at speed 1
SLOWEST, FASTEST = 80, 450  # espeak's range in words per minute
_LEVEL = 0.8  # of full scale, the loudest sample
_SILENCE = 2e-3  # what is quieter at the ends is cut
_WRITTEN_WORD = re.compile(r"\S+")


class EspeakEngine:
    """espeak-ng as a speech engine (see :class:`multitalk.speech.engine.SpeechEngine`)."""

    name = "espeak-ng"
    rate = RATE

    @classmethod
    def from_folder(cls, folder: Path | None, device: Any) -> EspeakEngine:
        """An engine; it needs neither weights nor a GPU."""
        return cls()

    def voices(self) -> tuple[str, ...]:
        """Names of the voices, each of which speaks every language."""
        return voices()

    def languages(self) -> tuple[str, ...]:
        """Codes of the languages: Kokoro's letters, then espeak's own."""
        return languages()

    def default_voices(self, languages: Mapping[str, str]) -> dict[str, str]:
        """A woman's voice and a man's, whatever the language."""
        return dict(DEFAULT_VOICES)

    def resolve_voice(self, voice: str) -> str:
        """The voice itself; for one of Kokoro's, or a mix of them, one of the same sex."""
        if voice in voices():
            return voice
        mix = parse_mix(voice)
        for name in mix:
            if name not in KOKORO_VOICES:
                raise InvalidInput(
                    f"The voice {name!r} is unknown; espeak-ng has {', '.join(voices())}.", "speech"
                )
        loudest = max(mix, key=lambda name: mix[name])
        alike = [name for name in KOKORO_VOICES if is_man(name) == is_man(loudest)]
        stand_ins = MEN if is_man(loudest) else WOMEN
        stand_in = stand_ins[alike.index(loudest) % len(stand_ins)]
        logger.warning("The voice %s needs Kokoro's weights; espeak-ng's %s speaks instead.", voice, stand_in)
        return stand_in

    def say(self, text: str, voice: str, language: str = "a", speed: float = 1.0) -> Utterance:
        """Say a text; see :func:`synthesize`."""
        return _speak(text, voice, language, speed)


@cache
def voices() -> tuple[str, ...]:
    """Names of the voices, each of which speaks every language."""
    return tuple(sorted(path.name for path in (data_folder() / "voices" / "!v").iterdir()))


def languages() -> tuple[str, ...]:
    """Codes of the languages: Kokoro's letters, then espeak's own."""
    return (*LANGUAGES, *language_names())


def synthesize(text: str, voice: str, language: str = "a", speed: float = 1.0) -> Sound:
    """Say a text.

    Args:
        text: The words.
        voice: One of :func:`voices`.
        language: One of :func:`languages`.
        speed: 1 is the voice's own.

    Returns:
        One channel of float32 at espeak's rate (22050), without silence at its ends.

    Raises:
        InvalidInput: The voice, language or speed doesn't exist, or nothing of the text can be spoken.
    """
    return _speak(text, voice, language, speed).sound


def _speak(text: str, voice: str, language: str, speed: float) -> Utterance:
    if voice not in voices():
        raise InvalidInput(f"The voice {voice!r} is unknown; espeak-ng has {', '.join(voices())}.", "speech")
    if language not in languages():
        raise InvalidInput(
            f"The language {language!r} is unknown; espeak-ng has {', '.join(languages())}.", "speech"
        )
    slowest, fastest = (round(limit / WORDS_PER_MINUTE, 2) for limit in (SLOWEST, FASTEST))
    if not slowest <= speed <= fastest:
        raise InvalidInput(f"speech.speed is {speed:g}, but must be {slowest} to {fastest}.", "speech")
    # the limits as they are told may lie a hundredth beyond the engine's own
    words_per_minute = min(max(round(WORDS_PER_MINUTE * speed), SLOWEST), FASTEST)
    name = f"{language_names()[LANGUAGES.get(language, language)]}+{voice}"
    raw, events = synthesize_raw(text, name, words_per_minute)
    full = raw.astype(np.float32) / 32768
    loud = np.flatnonzero(np.abs(full) > _SILENCE)
    if not len(loud):
        raise InvalidInput(f"espeak-ng finds nothing to say in {text!r}.", "speech")
    first, end = int(loud[0]), int(loud[-1]) + 1
    samples = full[first:end]
    samples *= _LEVEL / float(np.max(np.abs(samples)))
    begins = [(place, (sample - first) / RATE) for place, sample in events]
    return Utterance(Sound(samples[:, None], RATE), _time_words(text, begins, len(samples) / RATE))


def _time_words(text: str, begins: list[tuple[int, float]], seconds: float) -> tuple[Word, ...]:
    """The written words with their times.

    Args:
        text: What was said.
        begins: For each word as the engine counts them: its first character, and the second it begins at.
            Several of them may be one written word ("well-known", a number); of some written words, which
            the engine draws together ("in the"), only the first has one.
        seconds: Where the last one ends.
    """
    written = list(_WRITTEN_WORD.finditer(text))
    starts: dict[int, float] = {}  # by the written word's number
    for place, start in begins:
        number = next((i for i, word in enumerate(written) if word.end() > place and _spoken(word)), None)
        if number is not None:
            starts.setdefault(number, min(max(start, 0.0), seconds))
    firsts = sorted(starts)
    words = []
    for index, first in enumerate(firsts):
        after = firsts[index + 1] if index + 1 < len(firsts) else len(written)
        said = " ".join(word[0] for word in written[first if index else 0 : after])
        words.append(Word(said, starts[first], starts.get(after, seconds)))
    return tuple(words)


def _spoken(word: re.Match[str]) -> bool:
    return any(character.isalnum() for character in word[0])
