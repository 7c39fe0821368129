"""Wan's causal video VAE, run chunk by chunk: 4 video frames per latent frame, 1 for the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from .vae_layers import use_channels_last
from .vae_stages import (
    SPATIAL_STRIDE,
    TEMPORAL_STRIDE,
    SteadyStages,
    chunk_weights,
    decoder_stages,
    encoder_stages,
    latent_frames,
    new_feature_cache,
    run_stages,
)
from .vae_tiling import decode_tiles, encode_tiles, needs_tiles, tile_starts

__all__ = [
    "SPATIAL_STRIDE",
    "TEMPORAL_STRIDE",
    "decode_latents",
    "decode_parts",
    "encode_condition",
    "encode_weights",
    "latent_frames",
    "prepare_decoder",
]


def _tiles(vae: AutoencoderKLWan, height: int, width: int) -> int:
    """Return the number of tiles for latents of a size; 1 if they are not tiled."""
    return len(tile_starts(height)) * len(tile_starts(width)) if needs_tiles(vae, height, width) else 1


def _normalization(vae: AutoencoderKLWan, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of the latents, each ``1 C 1 1 1``."""
    mean, std = (like.new_tensor(values) for values in (vae.config.latents_mean, vae.config.latents_std))
    return mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)


def encode_condition(
    vae: AutoencoderKLWan,
    frames: torch.Tensor,
    length: int,
    check_cancelled: Callable[[], None] | None = None,
) -> torch.Tensor:
    """Encode condition frames, followed by zeros, without sampling (docs/MODEL.md, section 4).

    For zeros, each stage reaches a fixed point after a few frames, the length of its receptive field, and is
    not run again. The latents are bit-identical, for about a third of the work.

    Args:
        vae: The VAE in float32: encoding is not accurate enough in half precision. Large frames are tiled if
            its ``use_tiling`` is set.
        frames: ``3 n H W`` in [-1, 1], n = 4m+1.
        length: Number of frames including the zeros, 4k+1.
        check_cancelled: Called before every chunk; may raise.

    Returns:
        Normalized mean ``C k+1 H/8 W/8``, float32.
    """
    frames = frames[None].to(device=vae.device, dtype=vae.quant_conv.weight.dtype)
    zeros = frames.new_zeros(1, 3, TEMPORAL_STRIDE, *frames.shape[3:])
    if needs_tiles(vae, zeros.shape[3] // SPATIAL_STRIDE, zeros.shape[4] // SPATIAL_STRIDE):
        hidden_states = encode_tiles(vae, frames, length, check_cancelled)
    else:
        stages = SteadyStages(encoder_stages(vae.encoder), new_feature_cache(vae.encoder), zeros)
        hidden_states = stages.encode(frames, length, check_cancelled)
    moments = vae.quant_conv(hidden_states)
    latents = moments.chunk(2, dim=1)[0].float()
    mean, std = _normalization(vae, latents)
    # multiplied by the reciprocal, as in diffusers' Wan pipelines and upstream
    return ((latents - mean) * (1.0 / std))[0]


def encode_weights(vae: AutoencoderKLWan, size: Sequence[int], frames: int, length: int) -> list[float]:
    """Return the work of each chunk in which `encode_condition` encodes frames.

    Args:
        vae: The VAE.
        size: Height and width of the frames.
        frames: Number of frames, 4m+1.
        length: Frames with the zeros that follow, 4k+1.
    """
    weights = chunk_weights(latent_frames(frames), latent_frames(length))
    height, width = (side // SPATIAL_STRIDE for side in size)
    return weights * _tiles(vae, height, width)


def decode_latents(
    vae: AutoencoderKLWan, latents: torch.Tensor, check_cancelled: Callable[[], None] | None = None
) -> Iterator[torch.Tensor]:
    """Decode latents in groups of frames.

    Args:
        vae: The VAE. Large frames are tiled if its ``use_tiling`` is set; all tiles are decoded before the
            first group is yielded.
        latents: Normalized latents, ``C T h w``.
        check_cancelled: Called before every group or tile; may raise.

    Yields:
        ``3 f 8h 8w`` float32 in [-1, 1]: 1 frame first, then 4 for every further latent frame.
    """
    latents = latents[None].to(device=vae.device, dtype=torch.float32)
    mean, std = _normalization(vae, latents)
    hidden_states = vae.post_quant_conv((latents / (1.0 / std) + mean).to(vae.post_quant_conv.weight.dtype))
    if needs_tiles(vae, *latents.shape[3:]):
        yield from decode_tiles(vae, hidden_states, check_cancelled)
        return
    stages, cache = decoder_stages(vae.decoder), new_feature_cache(vae.decoder)
    for latent in hidden_states.split(1, dim=2):
        if check_cancelled is not None:
            check_cancelled()
        yield run_stages(stages, latent, cache)[0].float().clamp(-1, 1)


def decode_parts(vae: AutoencoderKLWan, latents: torch.Tensor) -> int:
    """Return the number of groups or tiles in which latents ``C T h w`` are decoded."""
    height, width = latents.shape[2:]
    return _tiles(vae, height, width) if needs_tiles(vae, height, width) else latents.shape[1]


def prepare_decoder(vae: AutoencoderKLWan, dtype: torch.dtype) -> None:
    """Cast the decoder to half precision and its weights to channels-last, the fastest layout on GPUs.

    Decoding is accurate enough in bfloat16. Encoding is not, so the encoder is not changed.

    Args:
        vae: Its decoder is changed in place.
        dtype: Compute dtype of the decoder.
    """
    for part in (vae.post_quant_conv, vae.decoder):
        part.to(dtype)
        use_channels_last(part)
