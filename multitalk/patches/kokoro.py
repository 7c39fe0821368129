"""Kokoro's pipeline and misaki's text-to-phoneme converters without downloads and unused dependencies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import spacy
import torch
from kokoro import KModel, KPipeline
from misaki import en, espeak

PINNED = {"kokoro": ("0.9.4",), "misaki": ("0.9.4",)}
REPOSITORY = "hexgrad/Kokoro-82M"  # selects the model's variant; nothing is downloaded from it

Converter = Callable[[str], tuple[str | None, object]]


class OfflinePipeline(KPipeline):
    """Kokoro's pipeline for one language, with a grapheme-to-phoneme converter as an argument.

    The constructor of KPipeline creates the converter itself, which for English downloads spaCy's model if it
    is not installed as a package. This constructor replaces it and sets the same attributes.

    Args:
        language: Kokoro's language letter.
        model: The network, which pipelines may share.
        g2p: Converts text to phonemes.
    """

    def __init__(self, language: str, model: KModel, g2p: Callable[[str], Any]) -> None:
        self.repo_id = REPOSITORY
        self.lang_code = language
        self.model = model
        self.voices: dict[str, torch.Tensor] = {}
        self.g2p = g2p


class EnglishG2P(en.G2P):
    """misaki's English converter with spaCy's model from a folder.

    The constructor of en.G2P downloads the model if it is not installed as a package. This constructor
    replaces it and sets the same attributes.

    Args:
        model: Folder of spaCy's en_core_web_sm.
        british: Whether to use British English instead of American English.
    """

    def __init__(self, model: Path, british: bool) -> None:
        self.version = None
        self.british = british
        self.nlp = spacy.load(model, enable=["tok2vec", "tagger"])
        self.lexicon = en.Lexicon(british)
        self.fallback = espeak.EspeakFallback(british=british)
        self.unk = ""


def english_by_espeak(british: bool) -> Converter:
    """Create an English converter that uses espeak-ng alone.

    EspeakFallback is meant for the tokens of single words, but reads only their text.
    """
    fallback = espeak.EspeakFallback(british=british)
    return lambda text: fallback(SimpleNamespace(text=text))


def japanese() -> Converter:
    """Create the Japanese converter; ``misaki.ja`` would need pyopenjtalk, which Kokoro does not use."""
    from misaki.cutlet import Cutlet

    return Cutlet()
