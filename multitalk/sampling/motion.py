"""Motion frames: how a clip goes on where the one before ended."""

from __future__ import annotations

import torch

from .schedule import add_noise


class MotionFrames:
    """Holds the first latents of a later clip to the end of the clip before (docs/MODEL.md, section 5).

    Args:
        latents: ``C m h w`` float32, the re-encoded motion frames.
        generator: The job's random numbers; every application draws, whether or not it shows.
    """

    def __init__(self, latents: torch.Tensor, generator: torch.Generator) -> None:
        self.latents = latents
        self.generator = generator

    def apply(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Overwrite the first m latent frames of ``C T h w`` with the motion frames, noised to a timestep."""
        noise = torch.randn(
            self.latents.shape, generator=self.generator, device=self.latents.device, dtype=torch.float32
        )
        motion = add_noise(self.latents, noise, timestep)
        return torch.cat((motion, latents[:, motion.shape[1] :]), dim=1)
