"""Caches that skip blocks of the transformer: diffusers' caches, and TeaCache's schedule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import InvalidInput

if TYPE_CHECKING:
    from ..models.transformer import MultiTalkTransformer
    from ..request.parts import CacheSpec

# Growth of the blocks' residual from step to step over the 40 steps of Wan2.1 image-to-video with a prompt,
# measured by MagCache's authors (arXiv 2506.09045) without MultiTalk's audio layers.
MAG_RATIOS = {
    "480p": (
        *(1.0, 0.98783, 0.97559, 0.98311, 0.98202, 0.9888, 0.98762, 0.98957, 0.99052, 0.99383),
        *(0.98857, 0.99065, 0.98845, 0.99057, 0.98957, 0.98601, 0.98823, 0.98756, 0.98808, 0.98721),
        *(0.98571, 0.98543, 0.98157, 0.98411, 0.97952, 0.98149, 0.9774, 0.97825, 0.97355, 0.97085),
        *(0.97056, 0.96588, 0.96113, 0.9567, 0.94961, 0.93973, 0.93217, 0.91878, 0.90955, 0.92617),
    ),
    "720p": (
        *(1.0, 0.99428, 0.98588, 0.98273, 0.99018, 0.98911, 0.98646, 0.99454, 0.9891, 0.99124),
        *(0.99102, 0.99215, 0.99515, 0.99576, 0.99068, 0.99097, 0.99166, 0.99041, 0.99201, 0.99101),
        *(0.98599, 0.98845, 0.98848, 0.98862, 0.98718, 0.98497, 0.98264, 0.98389, 0.97938, 0.97535),
        *(0.97498, 0.973, 0.96827, 0.96261, 0.95335, 0.94649, 0.93397, 0.91636, 0.89088, 0.8679),
    ),
}


@contextmanager
def use_cache(
    transformer: MultiTalkTransformer, spec: CacheSpec | None, steps: int, resolution: str
) -> Iterator[None]:
    """Enable a cache on the transformer while one clip is sampled.

    The cache is created anew for every clip, so that nothing is reused from another clip or job.

    Args:
        transformer: Hooks are added to its blocks, and removed on exit.
        spec: The cache; None for none.
        steps: Number of steps.
        resolution: "480p" or "720p": selects MagCache's ratios if `spec` has none.

    Raises:
        InvalidInput: The transformer has fewer than two blocks.
    """
    if spec is None or spec.name == "taylorseer":  # which needs no hooks: see taylorseer.py
        yield
        return
    if len(transformer.blocks) < 2:
        raise InvalidInput("cache needs a transformer with at least two blocks. Set cache to null.", "cache")
    transformer.enable_cache(_config(spec, steps, resolution))
    try:
        yield
    finally:
        transformer.disable_cache()


@contextmanager
def cache_context(transformer: MultiTalkTransformer, name: str) -> Iterator[None]:
    """Name the cached state of a model call, so that guidance branches do not share it."""
    if not transformer.is_cache_enabled:
        yield
        return
    with transformer.cache_context(name):
        yield


def _config(spec: CacheSpec, steps: int, resolution: str) -> object:
    """Return diffusers' configuration of a cache."""
    from diffusers.hooks import FirstBlockCacheConfig, MagCacheConfig

    if spec.name == "first_block":
        return FirstBlockCacheConfig(threshold=spec.threshold)
    ratios = spec.ratios or MAG_RATIOS[resolution]
    return MagCacheConfig(
        threshold=spec.threshold,
        max_skip_steps=spec.max_skip_steps,
        num_inference_steps=steps,
        mag_ratios=list(ratios),
    )


ALWAYS_COMPUTED = 5  # the first steps determine the composition

# Polynomials that map the change of the timestep modulation to that of the output, highest power first
# (docs/MODEL.md, section 5; fitted upstream for Wan2.1 image-to-video).
COEFFICIENTS = {
    "480p": (2.57151496e05, -3.54229917e04, 1.40286849e03, -1.35890334e01, 1.32517977e-01),
    "720p": (8.10705460e03, 2.13393892e03, -3.72934672e02, 1.66203073e01, -4.17769401e-02),
}


def computed_steps(modulations: torch.Tensor, threshold: float, resolution: str) -> list[bool]:
    """Decide before sampling which steps run the blocks.

    The decision depends on the timestep modulation only, not on the inputs.

    Args:
        modulations: Modulation of the transformer at each timestep, ``steps 6 D`` float32.
        threshold: Accumulated change at which the blocks run again; usually 0.2 to 0.5.
        resolution: "480p" or "720p".

    Returns:
        For each step, whether the blocks run.
    """
    rescale = np.poly1d(COEFFICIENTS[resolution])
    computed: list[bool] = []
    accumulated = 0.0
    modulations = modulations.cpu()  # one copy instead of a synchronization per step
    for step, modulation in enumerate(modulations):
        if step >= ALWAYS_COMPUTED:
            previous = modulations[step - 1]
            change = (modulation - previous).abs().mean() / previous.abs().mean()
            accumulated += float(rescale(change.item()))
        compute = step < ALWAYS_COMPUTED or accumulated >= threshold
        if compute:
            accumulated = 0.0
        computed.append(compute)
    return computed
