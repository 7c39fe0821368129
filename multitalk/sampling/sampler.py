"""What a job's clips are sampled with."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..presets import SamplingSettings
from ..request_parts import CacheSpec
from .color import ColorCorrection


@dataclass(frozen=True)
class Sampler:
    """What every clip of a job is sampled with."""

    settings: SamplingSettings
    timesteps: torch.Tensor
    computed: list[bool] | None
    generator: torch.Generator
    color: ColorCorrection
    apg: bool
    cache: CacheSpec | None
    resolution: str
