"""The condition of a clip: latents of its first frames, and their mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ..models.video_vae import TEMPORAL_STRIDE, encode_condition, latent_frames

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan


def make_condition(
    vae: AutoencoderKLWan,
    frames: torch.Tensor,
    length: int,
    check_cancelled: Callable[[], None] | None = None,
) -> torch.Tensor:
    """Create the condition y of a clip (docs/MODEL.md, section 4).

    Args:
        vae: The VAE.
        frames: Condition frames ``3 n H W`` in [-1, 1], n = 4m+1: the image, or the motion frames.
        length: Frames of the clip, 4k+1.
        check_cancelled: Called between chunks; may raise.

    Returns:
        ``20 k+1 h w`` float32: 4 mask channels, one for each video frame of a latent frame (the first latent
        frame repeats its only one), then the latents of the frames and zeros.
    """
    latents = encode_condition(vae, frames, length, check_cancelled)
    mask = latents.new_zeros(TEMPORAL_STRIDE, *latents.shape[1:])
    mask[:, : latent_frames(frames.shape[1])] = 1.0  # 4n+1 frames fill whole latent frames
    return torch.cat((mask, latents))
