"""Text to Kokoro's phonemes, by misaki, in every language Kokoro has; never by way of the network.

Imports misaki and spaCy, which take seconds: only Kokoro's engine imports this, when it first speaks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import spacy
from misaki import en, espeak

logger = logging.getLogger(__name__)

ESPEAK_LANGUAGES = {"e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}


@dataclass(frozen=True)
class Phonemes:
    """A text as Kokoro reads it.

    Attributes:
        text: As written.
        symbols: A character per phoneme, stress or punctuation mark, words apart by spaces.
        tokens: misaki's tokens, where the language has them (English).
    """

    text: str
    symbols: str
    tokens: list[en.MToken] | None = None


Reader = Callable[[str], Phonemes]


class EnglishG2P(en.G2P):
    """misaki's English, with spaCy's model from a folder.

    The original's constructor downloads the model where it isn't installed as a package.

    Args:
        model: spaCy's en_core_web_sm.
        british: British rather than American.
    """

    def __init__(self, model: Path, british: bool) -> None:
        self.version = None
        self.british = british
        # what else it has (parser, entities) isn't asked
        self.nlp = spacy.load(model, enable=["tok2vec", "tagger"])
        self.lexicon = en.Lexicon(british)
        self.fallback = espeak.EspeakFallback(british=british)
        self.unk = ""


def make_reader(language: str, spacy_model: Path) -> Reader:
    """What reads a language.

    Args:
        language: Kokoro's letter.
        spacy_model: Where en_core_web_sm lies if it was baked; without it espeak-ng reads English, too.
    """
    # phonemizer warns at length of words it counts differently; nothing here depends on that count
    logging.getLogger("phonemizer").setLevel(logging.ERROR)
    if language in "ab":
        return _english_reader(language == "b", spacy_model)
    if language == "j":
        # not misaki.ja, which needs pyopenjtalk for a reading that Kokoro doesn't use
        from misaki.cutlet import Cutlet

        return _plain_reader(Cutlet())
    if language == "z":
        import jieba
        from misaki.zh import ZHG2P

        jieba.setLogLevel(logging.WARNING)
        return _plain_reader(ZHG2P())
    return _plain_reader(espeak.EspeakG2P(language=ESPEAK_LANGUAGES[language]))


def _english_reader(british: bool, spacy_model: Path) -> Reader:
    if not (spacy_model / "config.cfg").is_file():
        logger.warning(
            "The weights folder has no en_core_web_sm of spaCy: espeak-ng reads English for Kokoro, "
            "with fewer pronunciations known by heart."
        )
        guess = espeak.EspeakFallback(british=british)
        # it is made for single words, but asks a token for nothing but its text
        return _plain_reader(lambda text: guess(SimpleNamespace(text=text)))
    read = EnglishG2P(spacy_model, british)

    def read_english(text: str) -> Phonemes:
        _, tokens = read(text)
        symbols = "".join((token.phonemes or "") + (" " if token.whitespace else "") for token in tokens)
        return Phonemes(text, symbols.strip(), tokens)

    return read_english


def _plain_reader(read: Callable[[str], tuple[str | None, object]]) -> Reader:
    def read_text(text: str) -> Phonemes:
        return Phonemes(text, (read(text)[0] or "").strip())

    return read_text
