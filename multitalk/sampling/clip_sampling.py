"""What a job's clips are sampled with."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..request.parts import CacheSpec
from ..request.presets import SamplingSettings
from .color import ColorCorrection


@dataclass(frozen=True)
class ClipSampling:
    """What every clip of a job is sampled with.

    Attributes:
        settings: Steps, shift, guidance.
        timesteps: Of every step and 0 at the end, ``steps+1``, float32, on the device.
        computed: Which steps run the blocks (TeaCache); None where all do.
        generator: Gives the noise; on the device that the seed's video is reproduced on.
        color: Keeps the picture's colours.
        apg: Adaptive projected guidance.
        cache: What is reused from step to step instead of TeaCache.
        resolution: "480p" or "720p", for the constants that depend on it.
    """

    settings: SamplingSettings
    timesteps: torch.Tensor
    computed: list[bool] | None
    generator: torch.Generator
    color: ColorCorrection
    apg: bool
    cache: CacheSpec | None
    resolution: str
