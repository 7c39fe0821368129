"""Kokoro's pipeline on the files of a baked folder.

Importing torch and kokoro takes seconds, so this module is imported when Kokoro synthesizes its first text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from kokoro import KModel

from ..errors import WeightsError
from ..patches.kokoro import REPOSITORY, OfflinePipeline
from .engine import Word, cut_text
from .phonemes import G2P, Phonemes

MAX_PHONEMES = 510  # positions of the text encoder; a voice has one style vector for each length up to it
RATE = 24000
_SAMPLES_PER_FRAME = 600  # a frame is the unit of predicted durations
_SEED = 0  # of the noise in breath and consonants, so that a text always sounds the same


@dataclass(frozen=True)
class Piece:
    """The result of one call of the model.

    Attributes:
        text: The spoken text.
        samples: ``n`` float32 at 24 kHz.
        words: Words with times relative to the first sample; empty if words and phonemes do not match.
    """

    text: str
    samples: np.ndarray
    words: tuple[Word, ...]


def load_model(config: Path, weights: Path, device: torch.device | str) -> KModel:
    """Load Kokoro's network from its two files.

    Raises:
        WeightsError: The files cannot be read, or do not match.
    """
    try:
        # Inference tensors could not be used outside of inference mode. The random initialization must not
        # change the global random state.
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            model = KModel(repo_id=REPOSITORY, config=str(config), model=str(weights))
            return model.to(device).eval().requires_grad_(False)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # kokoro checks little, and torch raises many types
        raise WeightsError(f"Kokoro's weights {weights} cannot be loaded: {_first_line(error)}") from error


class LocalPipeline(OfflinePipeline):
    """Kokoro's pipeline for one language, with voices from a folder.

    Args:
        language: Kokoro's language letter.
        model: The network, which pipelines may share.
        g2p: Converts text to phonemes.
        voices: Folder of ``NAME.pt``.
    """

    def __init__(self, language: str, model: KModel, g2p: G2P, voices: Path) -> None:
        super().__init__(language, model, g2p)
        self._folder = voices

    def mix(self, weights: Mapping[str, float]) -> torch.Tensor:
        """Return the weighted mean of voices' styles, ``510 1 256``; the weights sum to 1.

        Raises:
            WeightsError: A voice's file is damaged.
        """
        styles = []
        for name, weight in weights.items():
            path = self._folder / f"{name}.pt"
            try:
                styles.append(weight * self.load_single_voice(str(path)).float())  # weights_only=True
            except Exception as error:
                raise WeightsError(f"Kokoro's voice {path} cannot be read: {_first_line(error)}") from error
        return torch.stack(styles).sum(dim=0)

    def read(self, text: str) -> list[Phonemes]:
        """Convert a text to phonemes, in pieces that the model accepts, without empty ones."""
        pieces = cut_text(text, self._convert, lambda phonemes: len(phonemes.symbols) <= MAX_PHONEMES)
        return [piece for piece in pieces if any(symbol.isalpha() for symbol in piece.symbols)]

    def _convert(self, text: str) -> Phonemes:
        phonemes = self.g2p(text)
        vocabulary = self.model.vocab
        # The model skips unknown symbols: remove them here, so that durations match the symbols.
        for token in phonemes.tokens or ():
            token.phonemes = "".join(symbol for symbol in token.phonemes or "" if symbol in vocabulary)
        if phonemes.tokens is not None:
            return Phonemes(text, self.tokens_to_ps(phonemes.tokens), phonemes.tokens)
        return Phonemes(text, " ".join("".join(s for s in phonemes.symbols if s in vocabulary).split()))

    def speak(self, phonemes: Phonemes, style: torch.Tensor, speed: float) -> list[Piece]:
        """Synthesize a piece.

        Args:
            phonemes: From :meth:`read`.
            style: From :meth:`mix`.
            speed: Speaking rate; 1 is normal.

        Returns:
            Usually one piece; more if kokoro splits the tokens.
        """
        tokens = phonemes.symbols if phonemes.tokens is None else phonemes.tokens
        pieces = []
        with _fixed_seed(self.model.device):
            for result in self.generate_from_tokens(tokens, style, speed):
                if result.tokens:
                    words = _token_words(result.tokens)
                else:
                    words = _match_words(phonemes.text, result.phonemes, result.pred_dur)
                pieces.append(Piece(phonemes.text, result.audio.reshape(-1).float().numpy(), words))
        return pieces


@contextmanager
def _fixed_seed(device: torch.device) -> Iterator[None]:
    """Use random numbers from a fixed seed, and restore the global random state afterwards."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(_SEED)  # torch.manual_seed would seed all GPUs
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(_SEED)
        yield


def _token_words(tokens: list) -> tuple[Word, ...]:
    """Return the written words with times from misaki's tokens; punctuation is a separate token."""
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
    """Return the written words with times from the phonemes' durations.

    Args:
        text: Words separated by spaces.
        symbols: Their phonemes, in groups separated by spaces.
        durations: Frames of each symbol, with one additional value at either end.

    Returns:
        The words; empty unless there is one group of phonemes per word.
    """
    written = [word for word in text.split() if any(character.isalnum() for character in word)]
    if durations is None or len(durations) != len(symbols) + 2:
        return ()
    ends = np.cumsum(durations.numpy()) * (_SAMPLES_PER_FRAME / RATE)  # of each symbol, in seconds
    words, position = [], 0
    for group in symbols.split(" "):
        if any(symbol.isalpha() for symbol in group):
            words.append((float(ends[position]), float(ends[position + len(group)])))
        position += len(group) + 1
    if len(words) != len(written):
        return ()
    return tuple(Word(text, start, end) for text, (start, end) in zip(written, words, strict=True))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0][:200].rstrip('.')}." if lines else f"{type(error).__name__}."
