"""Wan's causal video autoencoder, run chunk by chunk: 4 video frames, or 1 at the start, per latent frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    CACHE_T,
    AutoencoderKLWan,
    WanCausalConv3d,
    WanEncoder3d,
)
from torch import nn

TEMPORAL_STRIDE = 4
SPATIAL_STRIDE = 8

# What a causal convolution saw last: diffusers' layers read and replace the entries in the order they run.
FeatureCache = list[torch.Tensor | str | None]
Stage = Callable[[torch.Tensor, FeatureCache, list[int]], torch.Tensor]


def latent_frames(frames: int) -> int:
    """Latent frames of 4n+1 video frames."""
    return 1 + (frames - 1) // TEMPORAL_STRIDE


def new_feature_cache(module: nn.Module) -> FeatureCache:
    """An empty cache for an encoder or a decoder."""
    return [None] * sum(isinstance(layer, WanCausalConv3d) for layer in module.modules())


def _normalization(vae: AutoencoderKLWan, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the latents, each ``1 C 1 1 1``."""
    mean, std = (like.new_tensor(values) for values in (vae.config.latents_mean, vae.config.latents_std))
    return mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)


def encode_condition(
    vae: AutoencoderKLWan,
    frames: torch.Tensor,
    length: int,
    check_cancelled: Callable[[], None] | None = None,
) -> torch.Tensor:
    """Encode condition frames followed by zeros, deterministically.

    The zeros reach a fixed state stage by stage (the layers look only a few frames back), and a stage in that
    state isn't run again: bitwise the same latents for about a third of the work.

    Args:
        vae: The autoencoder; float32, since encoding isn't safe in half precision.
        frames: ``3 n H W`` in [-1, 1], n = 4m+1.
        length: Frames with the zeros, 4k+1.
        check_cancelled: Called before every chunk; may raise.

    Returns:
        Normalised mean ``C k+1 H/8 W/8``, float32.
    """
    frames = frames[None].to(device=vae.device, dtype=vae.quant_conv.weight.dtype)
    stages = _SteadyStages(vae.encoder, frames.new_zeros(1, 3, TEMPORAL_STRIDE, *frames.shape[3:]))
    known = latent_frames(frames.shape[2])
    chunks = []
    for index in range(latent_frames(length)):
        if check_cancelled is not None:
            check_cancelled()
        if index >= known:
            chunks.append(stages.run_zeros())
        else:
            first = max(0, 1 + TEMPORAL_STRIDE * (index - 1))
            chunks.append(stages.run(frames[:, :, first : 1 + TEMPORAL_STRIDE * index]))
    moments = vae.quant_conv(torch.cat(chunks, dim=2))
    latents = moments.chunk(2, dim=1)[0].float()
    mean, std = _normalization(vae, latents)
    # the order of diffusers' Wan pipelines: multiplied by the reciprocal, as upstream
    return ((latents - mean) * (1.0 / std))[0]


def decode_latents(vae: AutoencoderKLWan, latents: torch.Tensor) -> Iterator[torch.Tensor]:
    """Decode latents frame group by frame group.

    Args:
        vae: The autoencoder.
        latents: Normalised, ``C T h w``.

    Yields:
        ``3 f 8h 8w`` float32 in [-1, 1]: 1 frame first, then 4 for every further latent frame.
    """
    latents = latents[None].to(device=vae.device, dtype=torch.float32)
    mean, std = _normalization(vae, latents)
    hidden_states = vae.post_quant_conv((latents / (1.0 / std) + mean).to(vae.post_quant_conv.weight.dtype))
    cache = new_feature_cache(vae.decoder)
    for index in range(latents.shape[2]):
        frames = vae.decoder(
            hidden_states[:, :, index : index + 1], feat_cache=cache, feat_idx=[0], first_chunk=index == 0
        )
        yield frames[0].float().clamp(-1, 1)


def prepare_decoder(vae: AutoencoderKLWan, dtype: torch.dtype) -> None:
    """Let the decoder run in half precision, with the channels innermost, as a GPU's convolutions want it.

    Decoding is safe in bfloat16; encoding is not, so the encoder stays as it is.

    Args:
        vae: Its decoder is changed in place.
        dtype: What the decoder computes in.
    """
    for part in (vae.post_quant_conv, vae.decoder):
        part.to(dtype)
        for module in part.modules():
            for parameter in module.parameters(recurse=False):
                layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(parameter.dim())
                if layout is not None and isinstance(module, (nn.Conv2d, nn.Conv3d)):
                    parameter.data = parameter.data.to(memory_format=layout)


class _SteadyStages:
    """The encoder as a chain of stages; those that zeros have brought to a fixed state are not run again.

    A stage is a function of its input and its cache. Once its input repeats and a run leaves its cache as it
    was, every later run gives the same output.
    """

    def __init__(self, encoder: WanEncoder3d, zeros: torch.Tensor) -> None:
        self.stages = _encoder_stages(encoder)
        self.cache = new_feature_cache(encoder)
        self.steady_input = zeros  # what the first stage that still changes gets for a chunk of zeros
        self.steady_count = 0
        self.cache_position = 0  # where that stage's entries begin

    def run(self, chunk: torch.Tensor) -> torch.Tensor:
        """Encode a chunk of frames."""
        position = [0]
        for stage in self.stages:
            chunk = stage(chunk, self.cache, position)
        return chunk

    def run_zeros(self) -> torch.Tensor:
        """Encode a chunk of zeros that follows another chunk."""
        hidden_states, position = self.steady_input, [self.cache_position]
        steady = True
        for stage in self.stages[self.steady_count :]:
            begin = position[0]
            before = self.cache[:]
            hidden_states = stage(hidden_states, self.cache, position)
            end = position[0]
            steady = steady and all(map(_same, before[begin:end], self.cache[begin:end]))
            if steady:
                self.steady_input, self.cache_position = hidden_states, end
                self.steady_count += 1
        return hidden_states


def _same(before: torch.Tensor | str | None, after: torch.Tensor | str | None) -> bool:
    if isinstance(before, torch.Tensor) and isinstance(after, torch.Tensor):
        return before.shape == after.shape and torch.equal(before, after)
    return before is after


def _encoder_stages(encoder: WanEncoder3d) -> list[Stage]:
    """diffusers' encoder forward, cut where its layers meet."""

    def conv_in(x: torch.Tensor, cache: FeatureCache, position: list[int]) -> torch.Tensor:
        return _cached_convolution(encoder.conv_in, x, cache, position)

    def head(x: torch.Tensor, cache: FeatureCache, position: list[int]) -> torch.Tensor:
        x = encoder.nonlinearity(encoder.norm_out(x))
        return _cached_convolution(encoder.conv_out, x, cache, position)

    def layer_stage(layer: nn.Module) -> Stage:
        return lambda x, cache, position: layer(x, feat_cache=cache, feat_idx=position)

    return [conv_in, *map(layer_stage, [*encoder.down_blocks, encoder.mid_block]), head]


def _cached_convolution(
    convolution: WanCausalConv3d, x: torch.Tensor, cache: FeatureCache, position: list[int]
) -> torch.Tensor:
    """Run a causal convolution on a chunk, with the frames it needs of the chunks before."""
    index = position[0]
    before = cache[index]
    recent = x[:, :, -CACHE_T:].clone()
    if recent.shape[2] < CACHE_T and isinstance(before, torch.Tensor):
        recent = torch.cat((before[:, :, -1:], recent), dim=2)
    x = convolution(x, before)
    cache[index] = recent
    position[0] += 1
    return x
