"""Messages of process 0 to the others; a job ends with :class:`multitalk.pipeline.executor.JobOutcome`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..sampling.guidance import Branch, BranchConditions
from .layout import RankLayout

if TYPE_CHECKING:
    from ..request.parts import CacheSpec


@dataclass(frozen=True)
class PrepareJob:
    """Prepare the transformer for the next job.

    Attributes:
        streamed_blocks: Number of the transformer's blocks that are streamed from host memory.
        loras: Files and scales.
        audio_layers: Set of audio layers; None is the first.
    """

    streamed_blocks: int
    loras: tuple[tuple[Path, float], ...]
    audio_layers: str | None = None


@dataclass(frozen=True)
class ClipStart:
    """Start sampling a clip.

    Attributes:
        layout: How the processes share the clip.
        condition: ``20 T h w``.
        branches: Conditions of every guidance branch.
        computed: For each step, whether its blocks are computed (TeaCache); None computes them in every step.
        batched: Whether branches may share a model call.
        cache: A cache of diffusers, or None.
        steps: Sampling steps.
        resolution: "480p" or "720p".
    """

    layout: RankLayout
    condition: torch.Tensor
    branches: Mapping[Branch, BranchConditions]
    computed: list[bool] | None
    batched: bool
    cache: CacheSpec | None
    steps: int
    resolution: str


@dataclass(frozen=True)
class Predict:
    """Run one round of model calls.

    Attributes:
        step: Index of the sampling step.
        round: Index of the round within the step.
        latents: ``C T h w`` float32.
        timestep: 0 to 1000.
    """

    step: int
    round: int
    latents: torch.Tensor
    timestep: torch.Tensor


@dataclass(frozen=True)
class ClipEnd:
    """End the clip: it is sampled or was stopped."""


@dataclass(frozen=True)
class Goodbye:
    """End: there are no more jobs."""
