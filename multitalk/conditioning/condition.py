"""What the transformer is shown of the picture: the condition latents and their mask."""

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
    """The condition y of a clip (docs/MODEL.md, section 4).

    Args:
        vae: The autoencoder.
        frames: Condition frames ``3 n H W`` in [-1, 1], n = 4m+1: the picture, or the motion frames.
        length: Frames of the clip, 4k+1.
        check_cancelled: Called between pieces of work; may raise.

    Returns:
        ``20 k+1 h w`` float32: 4 mask channels, one for each video frame of a latent frame (the first frame
        stands for 4), then the latents of the frames followed by zeros.
    """
    latents = encode_condition(vae, frames, length, check_cancelled)
    known = frames.shape[1]
    mask = latents.new_zeros(TEMPORAL_STRIDE, *latents.shape[1:])
    mask[:, : latent_frames(known)] = 1.0  # 4n+1 known frames fill their latent frames
    return torch.cat((mask, latents))
