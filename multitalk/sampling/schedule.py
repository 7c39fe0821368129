"""Timesteps and Euler steps of flow matching, and the noise of motion latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

NUM_TRAIN_TIMESTEPS = 1000


# By name, as in diffusers: from the first timestep to 1, as published; or evenly from the first to 0, which
# is where step distillation trains (1000, 750, 500 and 250 of 4 steps).
SPACINGS: dict[str, Callable[[int], np.ndarray]] = {
    "linspace": lambda steps: np.linspace(NUM_TRAIN_TIMESTEPS, 1, steps, dtype=np.float32),
    "trailing": lambda steps: np.linspace(NUM_TRAIN_TIMESTEPS, 0, steps + 1, dtype=np.float32)[:-1],
}


def make_timesteps(steps: int, shift: float, spacing: str = "linspace") -> torch.Tensor:
    """Compute timesteps from 1000 down to 0, shifted towards the noisy end (docs/MODEL.md, section 5).

    The order of operations is the same as upstream: another order differs in the last bit, and errors grow.

    Args:
        steps: Number of steps.
        shift: Timestep shift; 1 leaves the timesteps evenly spaced.
        spacing: Name in :data:`SPACINGS`: the timesteps before the shift.

    Returns:
        ``steps + 1`` float32; the last is 0.
    """
    timesteps = SPACINGS[spacing](steps)
    sigmas = torch.from_numpy(np.append(timesteps, np.float32(0))) / NUM_TRAIN_TIMESTEPS
    return shift * sigmas / (1 + (shift - 1) * sigmas) * NUM_TRAIN_TIMESTEPS


def sampled_steps(steps: int, strength: float | None) -> int:
    """Return the number of steps that are sampled, the last ones of a schedule.

    Args:
        steps: Steps of the schedule.
        strength: Share of them, above 0 to 1, at least one; None: all of them.
    """
    return steps if strength is None else max(1, round(steps * strength))


def add_noise(latents: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """Return ``(1 - sigma) * latents + sigma * noise`` with sigma = timestep / 1000."""
    sigma = timestep / NUM_TRAIN_TIMESTEPS
    return (1 - sigma) * latents + sigma * noise


def euler_step(
    latents: torch.Tensor, velocity: torch.Tensor, timestep: torch.Tensor, next_timestep: torch.Tensor
) -> torch.Tensor:
    """Take an Euler step along the predicted velocity; all tensors float32."""
    return latents - velocity * ((timestep - next_timestep) / NUM_TRAIN_TIMESTEPS)


class FixedFrames(Protocol):
    """The first latent frames of a clip, which sampling does not change."""

    def apply(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Replace them in ``C T h w``: before the first step, and after every step at its new timestep."""
        ...


class MotionFrames:
    """Fixes the first latents of a clip to the last frames of the previous clip (docs/MODEL.md, section 5).

    Args:
        latents: The re-encoded motion frames, ``C m h w`` float32.
        generator: Random numbers of the job. Every application draws noise, even at timestep 0.
    """

    def __init__(self, latents: torch.Tensor, generator: torch.Generator) -> None:
        self.latents = latents
        self.generator = generator

    def apply(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Replace the first m latent frames of ``C T h w`` by the motion frames, noised to a timestep."""
        motion = add_noise(self.latents, _draw_noise(self.latents, self.generator), timestep)
        return torch.cat((motion, latents[:, motion.shape[1] :]), dim=1)


class CleanMotionFrames:
    """Fixes the first latents of a clip to clean latents (docs/MODEL.md, section 9).

    Args:
        latents: ``C m h w`` float32.
        generator: Random numbers of the job; None for the first clip. Every application draws noise that is
            not used, as in the reference: without it, a seed would give another video.
    """

    def __init__(self, latents: torch.Tensor, generator: torch.Generator | None) -> None:
        self.latents = latents
        self.generator = generator

    def apply(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Replace the first m latent frames of ``C T h w``."""
        if self.generator is not None:
            _draw_noise(self.latents, self.generator)
        return torch.cat((self.latents, latents[:, self.latents.shape[1] :]), dim=1)


def _draw_noise(latents: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(latents.shape, generator=generator, device=latents.device, dtype=torch.float32)
