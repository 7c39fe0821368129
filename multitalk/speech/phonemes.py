"""Text to Kokoro's phonemes with misaki, in all of Kokoro's languages and without network access.

Importing misaki and spaCy takes seconds, so this module is imported when Kokoro synthesizes its first text.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from misaki import en, espeak

from ..patches.kokoro import Converter, EnglishG2P, english_by_espeak, japanese

logger = logging.getLogger(__name__)

ESPEAK_LANGUAGES = {"e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}


@dataclass(frozen=True)
class Phonemes:
    """The phonemes of a text.

    Attributes:
        text: The text as written.
        symbols: One character per phoneme, stress or punctuation mark; words separated by spaces.
        tokens: misaki's tokens, if the language has them (English).
    """

    text: str
    symbols: str
    tokens: list[en.MToken] | None = None


G2P = Callable[[str], Phonemes]


def create_g2p(language: str, spacy_model: Path) -> G2P:
    """Create the converter from text to phonemes for a language.

    Args:
        language: Kokoro's language letter.
        spacy_model: Folder of en_core_web_sm; if it is missing, espeak-ng converts English.
    """
    # phonemizer warns if its word count differs from espeak-ng's, which is not used here
    logging.getLogger("phonemizer").setLevel(logging.ERROR)
    if language in "ab":
        return _english_g2p(language == "b", spacy_model)
    if language == "j":
        return _without_tokens(japanese())
    if language == "z":
        import jieba
        from misaki.zh import ZHG2P

        jieba.setLogLevel(logging.WARNING)
        return _without_tokens(ZHG2P())
    return _without_tokens(espeak.EspeakG2P(language=ESPEAK_LANGUAGES[language]))


def _english_g2p(british: bool, spacy_model: Path) -> G2P:
    if not (spacy_model / "config.cfg").is_file():
        logger.warning(
            "The weights folder has no en_core_web_sm (spaCy): English pronunciation uses espeak-ng only, "
            "which is less accurate."
        )
        return _without_tokens(english_by_espeak(british))
    convert = EnglishG2P(spacy_model, british)

    def convert_english(text: str) -> Phonemes:
        _, tokens = convert(text)
        symbols = "".join((token.phonemes or "") + (" " if token.whitespace else "") for token in tokens)
        return Phonemes(text, symbols.strip(), tokens)

    return convert_english


def _without_tokens(convert: Converter) -> G2P:
    return lambda text: Phonemes(text, (convert(text)[0] or "").strip())
