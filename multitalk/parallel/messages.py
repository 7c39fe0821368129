"""What process 0 tells the others, beside how a job ended (:class:`multitalk.parallel.team.JobEnd`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..sampling.branches import BranchConditions
from ..sampling.guidance import Branch
from .layout import RankLayout

if TYPE_CHECKING:
    from ..request.parts import CacheSpec


@dataclass(frozen=True)
class SetUp:
    """What the next job needs.

    Attributes:
        streamed_blocks: Blocks of the transformer that wait in each process's host memory.
        loras: Files and scales.
    """

    streamed_blocks: int
    loras: tuple[tuple[Path, float], ...]


@dataclass(frozen=True)
class ClipStart:
    """A clip begins.

    Attributes:
        layout: How the processes share it.
        condition: ``20 T h w``.
        branches: The conditions of every guidance branch.
        computed: Whether each step runs the blocks; None runs them all.
        batched: Whether branches may share a model call.
        cache: One of diffusers' caches, or None.
        steps: Of the clip.
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
    """A round of model calls.

    Attributes:
        step: Number of the sampling step.
        round: Number of the round in the step.
        latents: ``C T h w`` float32.
        timestep: In 0..1000.
    """

    step: int
    round: int
    latents: torch.Tensor
    timestep: torch.Tensor


@dataclass(frozen=True)
class ClipEnd:
    """The clip is sampled, or given up."""


@dataclass(frozen=True)
class Goodbye:
    """There will be no more jobs."""
