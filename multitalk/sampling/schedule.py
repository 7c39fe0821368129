"""The timesteps of flow matching."""

from __future__ import annotations

import numpy as np
import torch

NUM_TRAIN_TIMESTEPS = 1000


def make_timesteps(steps: int, shift: float) -> torch.Tensor:
    """Timesteps from 1000 down to 0, shifted towards the noisy end (docs/MODEL.md, section 5).

    The order of operations is the reference's: another is an ulp off, and that grows.

    Args:
        steps: Model evaluations.
        shift: 1 leaves them evenly spaced.

    Returns:
        ``steps + 1`` float32; the last is 0.
    """
    evenly = np.linspace(NUM_TRAIN_TIMESTEPS, 1, steps, dtype=np.float32)
    share = torch.from_numpy(np.append(evenly, np.float32(0))) / NUM_TRAIN_TIMESTEPS
    return shift * share / (1 + (shift - 1) * share) * NUM_TRAIN_TIMESTEPS


def add_noise(latents: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """``(1 - u) * latents + u * noise`` with u = timestep / 1000."""
    share = timestep / NUM_TRAIN_TIMESTEPS
    return (1 - share) * latents + share * noise


def euler_step(
    latents: torch.Tensor, velocity: torch.Tensor, timestep: torch.Tensor, next_timestep: torch.Tensor
) -> torch.Tensor:
    """One step of Euler's method along the predicted velocity; a float32 result."""
    return latents - velocity * ((timestep - next_timestep) / NUM_TRAIN_TIMESTEPS)
