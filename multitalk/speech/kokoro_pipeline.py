"""Kokoro's own pipeline on the baked files.

Imports torch and kokoro, which take seconds: only Kokoro's engine imports this, when it first speaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from kokoro import KModel, KPipeline

from ..errors import WeightsError
from .cut import cut_text
from .engine import Word
from .phonemes import Phonemes, Reader

REPOSITORY = "hexgrad/Kokoro-82M"  # a name only: the package chooses by it what it would download
MAX_PHONEMES = 510  # voices have a style for each length up to it, and the text encoder has no more places
RATE = 24000
_SAMPLES_PER_FRAME = 600  # of the durations the model predicts
_SEED = 0  # of the noise in breath and consonants: the same words sound the same every time


@dataclass(frozen=True)
class Piece:
    """A stretch of speech that the model made at once.

    Attributes:
        text: What is said.
        samples: ``n`` float32 at 24 kHz, as the model gives them.
        words: Times in seconds from the first sample; empty where words and phonemes can't be matched.
    """

    text: str
    samples: np.ndarray
    words: tuple[Word, ...]


def load_model(config: Path, weights: Path, device: torch.device | str) -> KModel:
    """Load Kokoro's network from its two files.

    Raises:
        WeightsError: They can't be read, or don't fit each other.
    """
    try:
        # what is made in inference mode couldn't be used outside of it; and random first values
        # must not move anybody's random numbers
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            model = KModel(repo_id=REPOSITORY, config=str(config), model=str(weights))
            return model.to(device).eval().requires_grad_(False)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the package checks little, and torch raises a dozen kinds
        raise WeightsError(f"Kokoro's weights {weights} can't be loaded: {_first_line(error)}") from error


class LocalPipeline(KPipeline):
    """Kokoro's pipeline for one language, reading text by what it is given.

    The original's constructor makes the reader itself, and for English that downloads where spaCy's model
    is missing. Everything else is the package's: voices, chunks of tokens, the model's call, time stamps.

    Args:
        language: Kokoro's letter.
        model: The network, shared between languages.
        reader: Text to phonemes.
        voices: Folder of ``NAME.pt``.
    """

    def __init__(self, language: str, model: KModel, reader: Reader, voices: Path) -> None:
        self.repo_id = REPOSITORY
        self.lang_code = language
        self.model = model
        self.voices: dict[str, torch.Tensor] = {}
        self.g2p = reader
        self._folder = voices

    def mix(self, weights: Mapping[str, float]) -> torch.Tensor:
        """The style of voices mixed by weights whose sum is 1, ``510 1 256``.

        Raises:
            WeightsError: A voice's file is damaged.
        """
        styles = []
        for name, weight in weights.items():
            path = self._folder / f"{name}.pt"
            try:
                styles.append(weight * self.load_single_voice(str(path)).float())  # reads tensors only
            except Exception as error:
                raise WeightsError(f"Kokoro's voice {path} can't be read: {_first_line(error)}") from error
        return torch.stack(styles).sum(dim=0)

    def read(self, text: str) -> list[Phonemes]:
        """A text's phonemes in pieces the model can say, cut where sentences end; without what is silent."""
        pieces = cut_text(text, self._read, lambda phonemes: len(phonemes.symbols) <= MAX_PHONEMES)
        return [piece for piece in pieces if any(symbol.isalpha() for symbol in piece.symbols)]

    def _read(self, text: str) -> Phonemes:
        phonemes = self.g2p(text)
        known = self.model.vocab
        # the model drops what it doesn't know; dropped here, durations and phonemes stay in step
        for token in phonemes.tokens or ():
            token.phonemes = "".join(symbol for symbol in token.phonemes or "" if symbol in known)
        if phonemes.tokens is not None:
            return Phonemes(text, self.tokens_to_ps(phonemes.tokens), phonemes.tokens)
        return Phonemes(text, " ".join("".join(s for s in phonemes.symbols if s in known).split()))

    def speak(self, phonemes: Phonemes, style: torch.Tensor, speed: float) -> list[Piece]:
        """Say a piece.

        Args:
            phonemes: From :meth:`read`.
            style: From :meth:`mix`.
            speed: 1 is the voice's own.

        Returns:
            One piece (more, were a tokenizer to count otherwise).
        """
        given = phonemes.symbols if phonemes.tokens is None else phonemes.tokens
        pieces = []
        with _own_noise(self.model.device):
            for result in self.generate_from_tokens(given, style, speed):
                if result.tokens:
                    words = _token_words(result.tokens)
                else:
                    words = _match_words(phonemes.text, result.phonemes, result.pred_dur)
                pieces.append(Piece(phonemes.text, result.audio.reshape(-1).float().numpy(), words))
        return pieces


@contextmanager
def _own_noise(device: torch.device) -> Iterator[None]:
    """Random numbers from a seed of our own; everybody else's go on afterwards as if nothing had been."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(_SEED)  # torch.manual_seed would set every GPU's
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(_SEED)
        yield


def _token_words(tokens: list) -> tuple[Word, ...]:
    """Times of written words from misaki's tokens, of which punctuation is one of its own."""
    words: list[Word] = []
    attached = False
    for token in tokens:
        start, end = token.start_ts, token.end_ts
        if start is None or end is None:
            if words and token.text.strip() and attached:
                words[-1] = Word(words[-1].text + token.text, words[-1].start, words[-1].end)
        elif words and attached:
            words[-1] = Word(words[-1].text + token.text, words[-1].start, end)
        elif any(character.isalnum() for character in token.text):
            words.append(Word(token.text, start, end))
        attached = not token.whitespace
    return tuple(words)


def _match_words(text: str, symbols: str, durations: torch.Tensor | None) -> tuple[Word, ...]:
    """Times of written words from each phoneme's duration, where there is a group of phonemes per word.

    Args:
        text: Words apart by spaces.
        symbols: Their phonemes, groups apart by spaces.
        durations: Frames of each symbol, with one more value before and one after.
    """
    written = [word for word in text.split() if any(character.isalnum() for character in word)]
    if durations is None or len(durations) != len(symbols) + 2:
        return ()
    seconds = np.cumsum(durations.numpy()) * (_SAMPLES_PER_FRAME / RATE)  # where each symbol ends
    words, place = [], 0
    for group in symbols.split(" "):
        if any(symbol.isalpha() for symbol in group):
            words.append((float(seconds[place]), float(seconds[place + len(group)])))
        place += len(group) + 1
    if len(words) != len(written):
        return ()
    return tuple(Word(text, start, end) for text, (start, end) in zip(written, words, strict=True))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0][:200].rstrip('.')}." if lines else f"{type(error).__name__}."
