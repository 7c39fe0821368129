"""Wan's VAE as a chain of stages that process a video chunk by chunk, with a cache of earlier frames."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import CACHE_T, WanDecoder3d, WanEncoder3d
from torch import nn

from .vae_layers import CausalConv3d, FeatureCache, norm_and_convolve

TEMPORAL_STRIDE = 4
SPATIAL_STRIDE = 8

# Work of encoding a chunk of one frame, and a chunk of zeros once most stages are at their fixed point, as a
# share of a chunk of 4 frames; number of chunks of zeros before. Measured with the demo weights on a CPU.
FIRST_CHUNK, UNSTEADY_CHUNKS, STEADY_CHUNK = 0.35, 2, 0.1

Stage = Callable[[torch.Tensor, FeatureCache, list[int]], torch.Tensor]


def latent_frames(frames: int) -> int:
    """Return the number of latent frames of 4n+1 video frames."""
    return 1 + (frames - 1) // TEMPORAL_STRIDE


def chunk_weights(content: int, chunks: int) -> list[float]:
    """Return the work of encoding each chunk of a clip, as a share of a whole one.

    Args:
        content: Number of chunks with frames, the first of which has one frame; zeros follow.
        chunks: Number of all chunks.
    """
    weights = [FIRST_CHUNK] + (content - 1) * [1.0] + UNSTEADY_CHUNKS * [1.0]
    return (weights + chunks * [STEADY_CHUNK])[:chunks]


def new_feature_cache(module: nn.Module) -> FeatureCache:
    """Create an empty cache for an encoder or a decoder."""
    return [None] * sum(isinstance(layer, CausalConv3d) for layer in module.modules())


class SteadyStages:
    """Encoder stages that are not run again once chunks of zeros have brought them to a fixed point.

    A stage is a function of its input and its cache. Once its input repeats and a run does not change its
    cache, every later run returns the same output.

    Args:
        stages: The chain, or its first stages.
        cache: An empty cache.
        zeros: A chunk of zeros.
    """

    def __init__(self, stages: list[Stage], cache: FeatureCache, zeros: torch.Tensor) -> None:
        self.stages = stages
        self.cache = cache
        self.steady_count = 0  # number of stages at their fixed point
        self.steady_input = zeros  # input of the next stage for a chunk of zeros
        self.cache_position = 0  # index of that stage's first cache entry

    def run(self, chunk: torch.Tensor) -> torch.Tensor:
        """Encode a chunk of frames."""
        return run_stages(self.stages, chunk, self.cache)

    def encode(
        self, frames: torch.Tensor, length: int, check_cancelled: Callable[[], None] | None = None
    ) -> torch.Tensor:
        """Encode frames ``1 3 n H W``, followed by zeros up to `length` frames, to ``1 C T h w``."""
        chunks = []
        content = latent_frames(frames.shape[2])
        for index in range(latent_frames(length)):
            if check_cancelled is not None:
                check_cancelled()
            if index >= content:
                chunks.append(self.run_zeros())
            else:
                first = max(0, 1 + TEMPORAL_STRIDE * (index - 1))
                chunks.append(self.run(frames[:, :, first : 1 + TEMPORAL_STRIDE * index]))
        return torch.cat(chunks, dim=2)

    def run_zeros(self) -> torch.Tensor:
        """Encode a chunk of zeros after another chunk."""
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


def encoder_stages(encoder: WanEncoder3d) -> list[Stage]:
    """Split the forward pass of diffusers' encoder into stages, one per layer."""
    return _stages(encoder, [*encoder.down_blocks, encoder.mid_block])


def decoder_stages(decoder: WanDecoder3d) -> list[Stage]:
    """Split the forward pass of diffusers' decoder into stages, one per layer."""
    return _stages(decoder, [decoder.mid_block, *decoder.up_blocks])


def _stages(network: WanEncoder3d | WanDecoder3d, layers: list[nn.Module]) -> list[Stage]:
    """Return the first convolution, the layers, and the last norm and convolution as stages."""

    def conv_in(x: torch.Tensor, cache: FeatureCache, position: list[int]) -> torch.Tensor:
        return _cached_convolution(network.conv_in, x, cache, position)

    def head(x: torch.Tensor, cache: FeatureCache, position: list[int]) -> torch.Tensor:
        return norm_and_convolve(network.norm_out, network.conv_out, x, cache, position)

    def layer_stage(layer: nn.Module) -> Stage:
        return lambda x, cache, position: layer(x, feat_cache=cache, feat_idx=position)

    return [conv_in, *map(layer_stage, layers), head]


def run_stages(stages: list[Stage], chunk: torch.Tensor, cache: FeatureCache) -> torch.Tensor:
    """Run a chunk through stages that share a cache."""
    position = [0]
    for stage in stages:
        chunk = stage(chunk, cache, position)
    return chunk


def _cached_convolution(
    convolution: CausalConv3d, x: torch.Tensor, cache: FeatureCache, position: list[int]
) -> torch.Tensor:
    """Run a causal convolution on a chunk, with the cached frames of earlier chunks."""
    index = position[0]
    position[0] += 1
    if not convolution.earlier_frames:
        return convolution(x)
    before = cache[index]
    recent = x[:, :, -CACHE_T:].clone()
    if recent.shape[2] < CACHE_T and isinstance(before, torch.Tensor):
        recent = torch.cat((before[:, :, -1:], recent), dim=2)
    x = convolution(x, before)
    cache[index] = recent
    return x
