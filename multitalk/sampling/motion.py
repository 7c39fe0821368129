"""Motion frames: the frames of the previous clip that a clip continues."""

from __future__ import annotations

import torch

from .schedule import add_noise


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
        noise = torch.randn(
            self.latents.shape, generator=self.generator, device=self.latents.device, dtype=torch.float32
        )
        motion = add_noise(self.latents, noise, timestep)
        return torch.cat((motion, latents[:, motion.shape[1] :]), dim=1)
