"""Kokoro, a neural speech engine: 82 million parameters, 54 voices, nine languages, 24 kHz."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..media.sound import Sound
from ..request.voices import BEST_VOICES, choose_voice, is_man, parse_mix
from ..weights.folders import (
    KOKORO_CONFIG,
    KOKORO_FOLDER,
    KOKORO_VOICES,
    KOKORO_WEIGHTS,
    SPACY_MODEL,
    voices_folder,
)
from .engine import Utterance, Word, check_available, ends_sentence, unpronounceable

if TYPE_CHECKING:
    from .kokoro_pipeline import LocalPipeline, Piece

logger = logging.getLogger(__name__)

LANGUAGES = ("a", "b", "e", "f", "h", "i", "j", "p", "z")
# codes of espeak-ng and other programs
LANGUAGE_ALIASES = {
    "en-us": "a", "en-gb": "b", "es": "e", "fr-fr": "f", "fr": "f", "hi": "h",
    "it": "i", "ja": "j", "pt-br": "p", "zh": "z", "cmn": "z",
}  # fmt: skip
# Writing systems that languages read besides Latin letters.
_WRITINGS = {"h": {"DEVANAGARI"}, "j": {"HIRAGANA", "KATAKANA", "CJK"}, "z": {"CJK"}}
_SILENCE = 5e-3  # level relative to a piece's peak, below which its ends are cut
_MARGIN = 0.01  # seconds of silence that remain at either end
_SENTENCE_PAUSE, _CLAUSE_PAUSE = 0.3, 0.08  # seconds between the pieces of a long text


class KokoroEngine:
    """Kokoro as a speech engine (see :class:`multitalk.speech.engine.SpeechEngine`).

    The network is loaded for the first text and then kept, as is the converter to phonemes of each language.

    Args:
        folder: Kokoro's baked files: config.json, kokoro-v1_0.pth, voices, and optionally en_core_web_sm.
        device: Device of the network.
    """

    name = "Kokoro"
    rate = 24000

    def __init__(self, folder: Path, device: Any) -> None:
        self.folder = folder
        self._device = device
        self._lock = threading.RLock()
        self._model: Any = None
        self._pipelines: dict[str, LocalPipeline] = {}

    @classmethod
    def from_folder(cls, folder: Path | None, device: Any) -> KokoroEngine | None:
        """Create the engine for a weights folder, or with the voices that were fetched for folders without.

        Returns:
            The engine; None without a folder, or if Kokoro or its packages are not installed.
        """
        if folder is None:
            return None
        found = [
            each for each in (folder, voices_folder()) if (each / KOKORO_FOLDER / KOKORO_WEIGHTS).is_file()
        ]
        if not found:
            return None
        missing = [name for name in ("kokoro", "misaki", "spacy") if importlib.util.find_spec(name) is None]
        if missing:
            logger.warning(
                "%s has Kokoro, but the package %s is not installed: using another engine.",
                found[0],
                missing[0],
            )
            return None
        return cls(found[0] / KOKORO_FOLDER, device)

    @property
    def is_loaded(self) -> bool:
        """Whether the network is in memory."""
        return self._model is not None

    def move(self, device: Any) -> None:
        """Move the network to a device, or set the device to load it to."""
        with self._lock:
            self._device = device
            if self._model is not None:
                import torch

                with torch.inference_mode(False):  # inference tensors could not be used elsewhere
                    self._model.to(device)

    def voices(self) -> tuple[str, ...]:
        """Return the names of the voices in the folder."""
        return tuple(sorted(path.stem for path in (self.folder / KOKORO_VOICES).glob("*.pt")))

    def best_voices(self) -> tuple[str, ...]:
        """Return the voices with the best grades."""
        return BEST_VOICES

    def voice_sex(self, voice: str) -> str:
        """Return "woman" or "man"."""
        return "man" if is_man(voice) else "woman"

    def language_title(self, language: str) -> str:
        """Return the code: the page has names for Kokoro's languages."""
        return language

    def languages(self) -> tuple[str, ...]:
        """Return the language codes, Kokoro's letters first."""
        return (*LANGUAGES, *LANGUAGE_ALIASES)

    def writings(self, language: str) -> frozenset[str]:
        """Return the writing systems whose words a language reads."""
        return frozenset({"LATIN"} | _WRITINGS.get(self._letter(language), set()))

    def default_voices(self, languages: Mapping[str, str]) -> dict[str, str]:
        """Choose female and male voices by turns, of the persons' languages if possible."""
        chosen: dict[str, str] = {}
        for index, (person, language) in enumerate(languages.items()):
            letter, man = self._letter(language), bool(index % 2)
            chosen[person] = choose_voice(self.voices(), letter, man, other_than=chosen.values())
        return chosen

    def resolve_voice(self, voice: str) -> str:
        """Return the voice or mix unchanged, if all its voices are available."""
        available = self.voices()
        for name in parse_mix(voice):
            check_available("voice", name, available, self.name)
        return voice

    def say(self, text: str, voice: str, language: str = "a", speed: float = 1.0) -> Utterance:
        """Synthesize a text, in pieces of at most 510 phonemes.

        Raises:
            InvalidInput: The voice or language is invalid, or the text cannot be pronounced.
            WeightsError: Kokoro's files cannot be read.
        """
        mix = parse_mix(self.resolve_voice(voice))
        with self._lock:
            pipeline = self._pipeline(self._letter(language))
            style = pipeline.mix(mix)
            pieces = [
                piece for part in pipeline.read(text) for piece in pipeline.speak(part, style, float(speed))
            ]
        utterance = _join(pieces, self.rate)
        if not len(utterance.sound.samples):
            raise unpronounceable(text, self.name)
        return utterance

    def _letter(self, language: str) -> str:
        check_available("language", language, self.languages(), self.name)
        return LANGUAGE_ALIASES.get(language, language)

    def _pipeline(self, language: str) -> LocalPipeline:
        if language not in self._pipelines:
            from .kokoro_pipeline import LocalPipeline, load_model
            from .phonemes import create_g2p

            if self._model is None:
                logger.info("Loading Kokoro on %s.", self._device)
                self._model = load_model(
                    self.folder / KOKORO_CONFIG, self.folder / KOKORO_WEIGHTS, self._device
                )
            g2p = create_g2p(language, self.folder / SPACY_MODEL)
            self._pipelines[language] = LocalPipeline(language, self._model, g2p, self.folder / KOKORO_VOICES)
        return self._pipelines[language]


def _join(pieces: list[Piece], rate: int) -> Utterance:
    """Join pieces, with silence at their ends cut, and a pause after each sentence or clause."""
    sounds: list[np.ndarray] = []
    words: list[Word] = []
    position, pause = 0, 0
    for piece in pieces:
        first, end = _audible(piece.samples, rate)
        if first == end:
            continue
        if sounds:
            sounds.append(np.zeros(pause, np.float32))
            position += pause
        length = (end - first) / rate
        for word in piece.words:
            start, stop = (
                position / rate + min(max(time - first / rate, 0.0), length)
                for time in (word.start, word.end)
            )
            words.append(Word(word.text, start, stop))
        sounds.append(piece.samples[first:end])
        position += end - first
        pause = round((_SENTENCE_PAUSE if ends_sentence(piece.text) else _CLAUSE_PAUSE) * rate)
    samples = np.concatenate(sounds) if sounds else np.zeros(0, np.float32)
    return Utterance(Sound(samples[:, None], rate), tuple(words))


def _audible(samples: np.ndarray, rate: int) -> tuple[int, int]:
    """Return the first sample and the end of the audible part of a piece."""
    levels = np.abs(samples)
    peak = float(levels.max(initial=0.0))
    if not 0 < peak < np.inf:  # silence, or NaN from invalid weights
        return 0, 0
    loud = np.flatnonzero(levels > _SILENCE * peak)
    margin = round(_MARGIN * rate)
    return max(int(loud[0]) - margin, 0), min(int(loud[-1]) + 1 + margin, len(samples))
