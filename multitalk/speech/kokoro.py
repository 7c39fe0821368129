"""Kokoro, the speech engine of the published weights: 54 voices, nine languages, 24 kHz."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInput
from ..media.sound import Sound
from ..request.voices import choose_voice, parse_mix
from ..weights.kokoro_files import CONFIG, FOLDER, SPACY_MODEL, VOICES, WEIGHTS
from .cut import ends_sentence
from .engine import Utterance, Word

if TYPE_CHECKING:
    from .kokoro_pipeline import LocalPipeline, Piece

logger = logging.getLogger(__name__)

LANGUAGES = ("a", "b", "e", "f", "h", "i", "j", "p", "z")
# the codes that espeak-ng and other programs call them by
ALIASES = {
    "en-us": "a", "en-gb": "b", "es": "e", "fr-fr": "f", "fr": "f", "hi": "h",
    "it": "i", "ja": "j", "pt-br": "p", "zh": "z", "cmn": "z",
}  # fmt: skip
_SILENCE = 5e-3  # of the loudest sample: what is quieter at a piece's ends is cut, all but _MARGIN
_MARGIN = 0.01  # seconds
_SENTENCE_PAUSE, _CLAUSE_PAUSE = 0.3, 0.08  # seconds between pieces of a long text


class KokoroEngine:
    """Kokoro as a speech engine (see :class:`multitalk.speech.engine.SpeechEngine`).

    Nothing is read before it first speaks; the network is then kept, and so is what reads each language.

    Args:
        folder: Kokoro's files as baked: config.json, kokoro-v1_0.pth, voices, maybe en_core_web_sm.
        device: Where the network goes.
    """

    name = "Kokoro"
    rate = 24000

    def __init__(self, folder: Path, device: Any) -> None:
        self._folder = folder
        self._device = device
        self._lock = threading.RLock()
        self._model: Any = None
        self._pipelines: dict[str, LocalPipeline] = {}

    @classmethod
    def from_folder(cls, folder: Path | None, device: Any) -> KokoroEngine | None:
        """The engine of a baked weights folder; None where the folder has no Kokoro."""
        if folder is None or not (folder / FOLDER / WEIGHTS).is_file():
            return None
        lacking = [name for name in ("kokoro", "misaki", "spacy") if importlib.util.find_spec(name) is None]
        if lacking:
            logger.warning(
                "The weights folder has Kokoro, but the package %s isn't installed: another engine speaks.",
                lacking[0],
            )
            return None
        return cls(folder / FOLDER, device)

    @property
    def is_loaded(self) -> bool:
        """Whether the network is in memory."""
        return self._model is not None

    def move(self, device: Any) -> None:
        """Let the network compute there from now on, and lie nowhere else."""
        with self._lock:
            self._device = device
            if self._model is not None:
                import torch

                with torch.inference_mode(False):  # weights made in it couldn't be used outside of it
                    self._model.to(device)

    def voices(self) -> tuple[str, ...]:
        """Names of the voices that lie in the folder."""
        return tuple(sorted(path.stem for path in (self._folder / VOICES).glob("*.pt")))

    def languages(self) -> tuple[str, ...]:
        """Codes of the languages, Kokoro's letters first."""
        return (*LANGUAGES, *ALIASES)

    def default_voices(self, languages: Mapping[str, str]) -> dict[str, str]:
        """A woman's voice for person 1 and a man's for person 2, of their languages where there is one."""
        first = choose_voice(self.voices(), self._letter(languages["person1"]), man=False)
        second = choose_voice(self.voices(), self._letter(languages["person2"]), man=True, other_than=first)
        return {"person1": first, "person2": second}

    def resolve_voice(self, voice: str) -> str:
        """The voice or mix itself, if each of its voices is there."""
        known = self.voices()
        for name in parse_mix(voice):
            if name not in known:
                raise InvalidInput(f"The voice {name!r} is unknown; Kokoro has {', '.join(known)}.", "speech")
        return voice

    def say(self, text: str, voice: str, language: str = "a", speed: float = 1.0) -> Utterance:
        """Say a text, in as many pieces as the model's 510 phonemes ask for.

        Raises:
            InvalidInput: The voice or language doesn't exist, or nothing of the text can be spoken.
            WeightsError: Kokoro's files can't be read.
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
            raise InvalidInput(f"Kokoro finds nothing to say in {text[:80]!r}.", "speech")
        return utterance

    def _letter(self, language: str) -> str:
        letter = ALIASES.get(language, language)
        if letter not in LANGUAGES:
            raise InvalidInput(
                f"The language {language!r} is unknown; Kokoro has {', '.join(self.languages())}.", "speech"
            )
        return letter

    def _pipeline(self, language: str) -> LocalPipeline:
        if language not in self._pipelines:
            from .kokoro_pipeline import LocalPipeline, load_model
            from .phonemes import make_reader

            if self._model is None:
                logger.info("Loading Kokoro to %s.", self._device)
                self._model = load_model(self._folder / CONFIG, self._folder / WEIGHTS, self._device)
            reader = make_reader(language, self._folder / SPACY_MODEL)
            self._pipelines[language] = LocalPipeline(language, self._model, reader, self._folder / VOICES)
        return self._pipelines[language]


def _join(pieces: list[Piece], rate: int) -> Utterance:
    """Pieces one after the other, silence at their ends cut, a pause between them as reading aloud has."""
    sounds: list[np.ndarray] = []
    words: list[Word] = []
    place, pause = 0, 0
    for piece in pieces:
        first, end = _heard(piece.samples, rate)
        if first == end:
            continue
        if sounds:
            sounds.append(np.zeros(pause, np.float32))
            place += pause
        length = (end - first) / rate
        for word in piece.words:
            start, stop = (
                place / rate + min(max(time - first / rate, 0.0), length) for time in (word.start, word.end)
            )
            words.append(Word(word.text, start, stop))
        sounds.append(piece.samples[first:end])
        place += end - first
        pause = round((_SENTENCE_PAUSE if ends_sentence(piece.text) else _CLAUSE_PAUSE) * rate)
    samples = np.concatenate(sounds) if sounds else np.zeros(0, np.float32)
    return Utterance(Sound(samples[:, None], rate), tuple(words))


def _heard(samples: np.ndarray, rate: int) -> tuple[int, int]:
    """First sample and end of what is heard of a piece."""
    levels = np.abs(samples)
    peak = float(levels.max(initial=0.0))
    if not 0 < peak < np.inf:  # silence; or no numbers, of a network that can't be right
        return 0, 0
    loud = np.flatnonzero(levels > _SILENCE * peak)
    margin = round(_MARGIN * rate)
    return max(int(loud[0]) - margin, 0), min(int(loud[-1]) + 1 + margin, len(samples))
