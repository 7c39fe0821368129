"""espeak-ng, the embedded speech engine: intelligible speech on any machine, without weights."""

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
from .engine import Utterance, Word, check_available, unpronounceable
from .espeak_library import RATE, data_folder, language_names, language_titles, synthesize

logger = logging.getLogger(__name__)

# Kokoro's codes, so that a request is valid for either engine; espeak-ng's codes are valid as well.
LANGUAGES = {
    "a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi",
    "i": "it", "j": "ja", "p": "pt-br", "z": "cmn",
}  # fmt: skip
# Languages that read another writing system than Latin letters. Others spell its letters by name.
WRITINGS = {
    "ARABIC": "ar fa fa-latn sd ur",
    "ARMENIAN": "hy hyw",
    "BENGALI": "as bn bpy",
    "CHEROKEE": "chr-US-Qaaa-x-west",
    "CJK": "cmn cmn-latn-pinyin yue",
    "CYRILLIC": "ba be bg bs cv hr kk ky lfn ltg lv mk nog ru ru-cl ru-lv sr tt uk uz",
    "DEVANAGARI": "hi kok mr ne",
    "ETHIOPIC": "am ti",
    "GEORGIAN": "ka",
    "GREEK": "el grc",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "HANGUL": "ko",
    "HEBREW": "he",
    "HIRAGANA": "ja",
    "KANNADA": "kn",
    "KATAKANA": "ja",
    "MALAYALAM": "ml",
    "MYANMAR": "my shn",
    "ORIYA": "or",
    "SINHALA": "si",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
}
# Languages that spell Latin words.
SPELL_LATIN = ("ba", "cv", "hyw", "ja", "kok", "ky", "my", "nog", "shn", "ti")
DEFAULT_VOICES = {"person1": "f2", "person2": "m3", "person3": "f4", "person4": "m7"}
# Substitutes for Kokoro's voices, several of each sex, so that two speakers of one sex differ.
WOMEN, MEN = ("f2", "f4", "f3", "f5"), ("m3", "m7", "m1", "m4")
WORDS_PER_MINUTE = 165  # at speed 1
SLOWEST, FASTEST = 80, 450  # espeak-ng's range in words per minute
_LEVEL = 0.8  # peak of the result, relative to full scale
_SILENCE = 2e-3  # level below which samples at either end are cut
_WRITTEN_WORD = re.compile(r"\S+")


class EspeakEngine:
    """espeak-ng as a speech engine (see :class:`multitalk.speech.engine.SpeechEngine`)."""

    name = "espeak-ng"
    rate = RATE

    @classmethod
    def from_folder(cls, folder: Path | None, device: Any) -> EspeakEngine:
        """Create the engine; it needs neither weights nor a GPU."""
        return cls()

    def voices(self) -> tuple[str, ...]:
        """Return the names of the voices; each speaks every language."""
        return _voices()

    def best_voices(self) -> tuple[str, ...]:
        """Return the clearest voices."""
        return (*WOMEN, *MEN)

    def voice_sex(self, voice: str) -> str:
        """Return "woman" or "man"; empty if the voice's file does not say it."""
        return _voice_sexes().get(voice, "")

    def language_title(self, language: str) -> str:
        """Return the English name of a language."""
        return language_titles().get(language, language)

    def languages(self) -> tuple[str, ...]:
        """Return the language codes: Kokoro's letters, then espeak-ng's codes."""
        return (*LANGUAGES, *language_names())

    def writings(self, language: str) -> frozenset[str]:
        """Return the writing systems whose words a language reads."""
        code = LANGUAGES.get(language, language)
        others = {writing for writing, codes in WRITINGS.items() if code in codes.split()}
        return frozenset(others if code in SPELL_LATIN else {"LATIN"} | others)

    def default_voices(self, languages: Mapping[str, str]) -> dict[str, str]:
        """Return female and male voices by turns, for any language."""
        return dict(DEFAULT_VOICES)

    def resolve_voice(self, voice: str) -> str:
        """Return an espeak-ng voice unchanged, and a substitute of the same sex for a Kokoro voice or mix."""
        if voice in self.voices():
            return voice
        mix = parse_mix(voice)
        for name in mix:
            if name not in KOKORO_VOICES:
                check_available("voice", name, self.voices(), self.name)
        main = max(mix, key=lambda name: mix[name])
        same_sex = [name for name in KOKORO_VOICES if is_man(name) == is_man(main)]
        substitutes = MEN if is_man(main) else WOMEN
        substitute = substitutes[same_sex.index(main) % len(substitutes)]
        logger.warning(
            "Voice %s is not available without Kokoro's weights; using espeak-ng's voice %s.",
            voice,
            substitute,
        )
        return substitute

    def say(self, text: str, voice: str, language: str = "a", speed: float = 1.0) -> Utterance:
        """Synthesize a text.

        Args:
            text: The text.
            voice: One of :meth:`voices`.
            language: One of :meth:`languages`.
            speed: Speaking rate; 1 is normal.

        Returns:
            Mono audio at 22050 Hz without silence at either end, and the words' times.

        Raises:
            InvalidInput: The voice, language or speed is invalid, or the text cannot be pronounced.
        """
        check_available("voice", voice, self.voices(), self.name)
        check_available("language", language, self.languages(), self.name)
        slowest, fastest = (round(limit / WORDS_PER_MINUTE, 2) for limit in (SLOWEST, FASTEST))
        if not slowest <= speed <= fastest:
            raise InvalidInput(
                f"speech speed must be from {slowest} to {fastest} with espeak-ng, not {speed:g}.", "speech"
            )
        # the limits in the error are rounded, and may exceed espeak-ng's
        words_per_minute = min(max(round(WORDS_PER_MINUTE * speed), SLOWEST), FASTEST)
        name = f"{language_names()[LANGUAGES.get(language, language)]}+{voice}"
        raw, events = synthesize(text, name, words_per_minute)
        full = raw.astype(np.float32) / 32768
        loud = np.flatnonzero(np.abs(full) > _SILENCE)
        if not len(loud):
            raise unpronounceable(text, self.name)
        first, end = int(loud[0]), int(loud[-1]) + 1
        samples = full[first:end]
        samples *= _LEVEL / float(np.max(np.abs(samples)))
        starts = [(position, (sample - first) / RATE) for position, sample in events]
        return Utterance(Sound(samples[:, None], RATE), _time_words(text, starts, len(samples) / RATE))


@cache
def _voices() -> tuple[str, ...]:
    return tuple(sorted(path.name for path in (data_folder() / "voices" / "!v").iterdir()))


@cache
def _voice_sexes() -> dict[str, str]:
    sexes = {}
    for path in (data_folder() / "voices" / "!v").iterdir():
        found = re.search(
            r"^gender\s+(male|female)", path.read_text(errors="replace"), re.MULTILINE | re.IGNORECASE
        )
        if found:
            sexes[path.name] = "man" if found[1].lower() == "male" else "woman"
    return sexes


def _time_words(text: str, events: list[tuple[int, float]], seconds: float) -> tuple[Word, ...]:
    """Match the engine's word events to the written words.

    Args:
        text: The spoken text.
        events: First character and start in seconds of each word event. A written word may have several
            events ("well-known", numbers); of words that the engine joins ("in the"), only the first has one.
        seconds: End of the last word.
    """
    written = list(_WRITTEN_WORD.finditer(text))
    starts: dict[int, float] = {}  # by index of the written word
    for position, start in events:
        index = next((i for i, word in enumerate(written) if word.end() > position and _spoken(word)), None)
        if index is not None:
            starts.setdefault(index, min(max(start, 0.0), seconds))
    firsts = sorted(starts)
    words = []
    for number, first in enumerate(firsts):
        after = firsts[number + 1] if number + 1 < len(firsts) else len(written)
        group = " ".join(word[0] for word in written[first if number else 0 : after])
        words.append(Word(group, starts[first], starts.get(after, seconds)))
    return tuple(words)


def _spoken(word: re.Match[str]) -> bool:
    return any(character.isalnum() for character in word[0])
