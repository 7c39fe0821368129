"""Trains the audio layers of InfiniteTalk's conditioning, from those of MultiTalk in the exported weights.

The base model and the other networks stay as they are. A clip is conditioned on a frame of the input, and its
first latents are clean (docs/MODEL.md, section 9). For exact dubs, some clips start from the latents of the
video with its own voice, so that the mouth is drawn anew and everything else is kept.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from safetensors.torch import load_file

from multitalk.models.transformer import MultiTalkTransformer
from multitalk.weights.folders import EMBEDDED_FOLDER, part_files

from . import progress
from .batches import Batch
from .dub_clips import FOLDER, KINDS
from .fast_vae import make_vae
from .transformer import Trainer, attention_in_half_precision, make_transformer

STEPS, LEARNING_RATE = 900, 4e-4
SHARES = {"one": 0.36, "two": 0.2, "one_later": 0.3, "two_later": 0.14}
# of the batches that start from the source, and the lowest noise level there: an exact dub starts with more
SOURCE_SHARE, SOURCE_SIGMA = 0.4, 0.4


def is_audio_layer(name: str) -> bool:
    """Whether a parameter of the transformer belongs to its audio layers."""
    return name.startswith("audio_projection.") or ".audio_attn." in name or ".norm_audio." in name


class InfiniteTalkTrainer(Trainer):
    """Trains the audio layers of a transformer from a weights folder.

    Args:
        learning_rate: Learning rate.
        weights: The folder.
    """

    name = "infinitetalk"
    clips_folder = FOLDER
    kinds = KINDS
    shares: ClassVar[dict[str, float]] = SHARES

    def __init__(self, learning_rate: float, weights: Path) -> None:
        self.weights = weights
        super().__init__(learning_rate)

    def _make_model(self) -> MultiTalkTransformer:
        model = make_transformer()
        [file] = part_files(self.weights, "transformer")
        model.load_state_dict(load_file(file))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(is_audio_layer(name))
        return model

    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        config = type(make_vae()).load_config(self.weights / "vae")
        mean, std = (torch.tensor(config[f"latents_{name}"]) for name in ("mean", "std"))
        return mean, std

    def _vary(self, batch: Batch, clips: dict[str, torch.Tensor], random: np.random.Generator) -> Batch:
        batch = replace(batch, masked_frames=1, pinned=True)
        if random.random() > SOURCE_SHARE:
            return batch
        sigmas = SOURCE_SIGMA + (1 - SOURCE_SIGMA) * batch.sigmas
        return replace(batch, start=self.normalize(clips["source"]), sigmas=sigmas)


def train(steps: int = STEPS, learning_rate: float = LEARNING_RATE, weights: Path = EMBEDDED_FOLDER) -> None:
    """Train up to a number of steps, from the last checkpoint."""
    with attention_in_half_precision():
        InfiniteTalkTrainer(learning_rate, weights).train(steps, learning_rate)


if __name__ == "__main__":
    progress.command_line(train)
