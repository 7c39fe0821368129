"""Demucs: separates a voice from music and other sounds, so that the model hears the voice alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import WeightsError
from ..media.sound import Sound, resample
from ..weights.folders import SEPARATOR_FOLDER, SEPARATOR_WEIGHTS, has_voice_separator

if TYPE_CHECKING:
    from demucs.htdemucs import HTDemucs

VOICE = "vocals"  # name of the voice among the network's sources
SPAN, MARGIN = 60.0, 8.0  # seconds: separated at once, and heard before and after that


class VoiceSeparator:
    """The separator of a weights folder. It is loaded at its first use, and then kept in host memory.

    Args:
        folder: The weights folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / SEPARATOR_FOLDER / SEPARATOR_WEIGHTS
        self._network: HTDemucs | None = None

    @property
    def is_available(self) -> bool:
        """Whether the folder contains the weights, and the package demucs is installed."""
        return has_voice_separator(self.folder)

    def isolate(self, sound: Sound, device: torch.device, check_cancelled: Callable[[], None]) -> Sound:
        """Return the voice in a sound: mono, with the same rate and number of samples.

        Args:
            sound: The sound.
            device: Device that computes.
            check_cancelled: Called for every few seconds of sound; may raise.

        Raises:
            WeightsError: The weights are damaged.
        """
        network = self._network = self._network or _load(self.path)
        stereo = sound if sound.channels == 2 else Sound(sound.mono()[:, None], sound.rate)
        mixed = resample(stereo, network.samplerate).samples.T
        mixed = mixed if len(mixed) == 2 else np.repeat(mixed, 2, 0)
        # the network expects what it was trained on: zero mean, unit variance
        mean, deviation = float(mixed.mean()), float(mixed.mean(0).std()) + 1e-8
        normalized = torch.from_numpy((mixed - mean) / deviation)
        try:
            parts = [
                part * deviation + mean for part in _voices(network, normalized, device, check_cancelled)
            ]
        finally:
            network.to("cpu")
        voice = resample(Sound(np.concatenate(parts)[:, None], network.samplerate), sound.rate).samples
        length = len(sound.samples)
        return Sound(np.pad(voice[:length], ((0, max(0, length - len(voice))), (0, 0))), sound.rate)


def _load(path: Path) -> HTDemucs:
    from demucs.hf import load_safetensors_model

    try:
        network: Any = load_safetensors_model(path)
    except Exception as error:  # a class and its arguments are read from the file
        raise WeightsError(f"{path} is damaged. Bake the weights again.") from error
    return network.eval().requires_grad_(False)


def _voices(
    network: HTDemucs, samples: torch.Tensor, device: torch.device, check_cancelled: Callable[[], None]
) -> Iterator[np.ndarray]:
    """Yield the voice, mono, span by span: memory does not grow with the length of the sound."""
    from demucs.apply import apply_model

    span, margin = (round(seconds * network.samplerate) for seconds in (SPAN, MARGIN))
    for start in range(0, samples.shape[1], span):
        before = min(margin, start)
        heard = samples[None, :, start - before : start + span + margin]
        sources = apply_model(
            network,
            heard,
            shifts=0,  # the default shifts by a random time
            device=device,
            callback=lambda _: check_cancelled(),
        )
        voice = sources[0, network.sources.index(VOICE)].mean(0)
        yield voice[before : before + span].numpy()
