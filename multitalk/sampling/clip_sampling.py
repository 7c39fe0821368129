"""Sampling parameters of a job."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..request.parts import CacheSpec
from ..request.presets import SamplingSettings
from .color import ColorCorrection


@dataclass(frozen=True)
class ClipSampling:
    """Sampling parameters of all clips of a job.

    Attributes:
        settings: Steps, shift and guidance scales.
        timesteps: ``steps+1`` float32, the last 0, on the device.
        computed: For each step, whether the blocks run (TeaCache); None runs all steps.
        generator: Random numbers of the job. Its device type is part of what a seed reproduces.
        color: Color correction towards the image.
        apg: Whether to use adaptive projected guidance.
        cache: One of diffusers' caches; None for none.
        resolution: "480p" or "720p": selects constants of the caches.
    """

    settings: SamplingSettings
    timesteps: torch.Tensor
    computed: list[bool] | None
    generator: torch.Generator
    color: ColorCorrection
    apg: bool
    cache: CacheSpec | None
    resolution: str
