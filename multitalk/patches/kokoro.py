"""Kokoro's pipeline without its downloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from kokoro import KModel, KPipeline

PINNED = {"kokoro": ("0.9.4",)}
REPOSITORY = "hexgrad/Kokoro-82M"  # selects the model's variant; nothing is downloaded from it


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
