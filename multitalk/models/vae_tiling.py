"""Tiled VAE: layers above latent resolution run tile by tile, the others on whole frames.

Layers at latent resolution, an eighth of the video's, need little memory and include the attention over a
whole frame; they are never tiled. The other layers are convolutions with a receptive field of a few latents.
A tile therefore differs from the untiled result only near its inner edges, which get no weight in the
overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from . import constants
from .vae_stages import (
    SPATIAL_STRIDE,
    TEMPORAL_STRIDE,
    SteadyStages,
    decoder_stages,
    encoder_stages,
    new_feature_cache,
    run_stages,
)

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan

# Side of a tile, and the distance between two tiles, in latents.
TILE, STRIDE = constants.TILE // SPATIAL_STRIDE, constants.TILE_STRIDE // SPATIAL_STRIDE
# Latents at a tile's inner edge with weight zero; from there on the weight rises to one.
MARGIN = 2
HOST = torch.device("cpu")


def needs_tiles(vae: AutoencoderKLWan, height: int, width: int) -> bool:
    """Return whether latents of a size are tiled."""
    return bool(vae.use_tiling) and max(height, width) > TILE


def tile_starts(length: int) -> list[int]:
    """Return the positions of equal tiles that cover an axis of `length` latents."""
    last = max(0, length - TILE)
    return [*range(0, last, STRIDE), last]


def tile_weights(start: int, length: int) -> torch.Tensor:
    """Return a tile's weights along an axis: 1, falling to 0 towards edges that another tile overlaps."""
    size = min(TILE, length)
    weights = torch.ones(size)
    overlap = TILE - STRIDE
    ramp = ((torch.arange(overlap) + 0.5 - MARGIN) / (overlap - 2 * MARGIN)).clamp(0, 1)
    if start > 0:
        weights[:overlap] = ramp
    if start + size < length:
        weights[-overlap:] = torch.minimum(weights[-overlap:], ramp.flip(0))
    return weights


class _Blend:
    """A weighted sum of overlapping tiles.

    Args:
        height, width: Size of the result in latents.
        scale: Values per latent along each axis: 1 for latents, 8 for pixels.
        device: Device of the result.
    """

    def __init__(self, height: int, width: int, scale: int, device: torch.device) -> None:
        self.height, self.width, self.scale, self.device = height, width, scale, device
        self.total: torch.Tensor | None = None
        self.weights = torch.zeros(height * scale, width * scale, device=device)

    def add(self, tile: torch.Tensor, top: int, left: int) -> None:
        """Add a tile ``1 C T y x``; `top` and `left` are in latents."""
        tile = tile.to(self.device, torch.float32)
        rows, columns = tile_weights(top, self.height), tile_weights(left, self.width)
        weights = torch.outer(rows, columns).repeat_interleave(self.scale, 0)
        weights = weights.repeat_interleave(self.scale, 1).to(self.device)
        if self.total is None:
            self.total = tile.new_zeros(*tile.shape[:3], *self.weights.shape)
        area = (
            slice(top * self.scale, top * self.scale + tile.shape[3]),
            slice(left * self.scale, left * self.scale + tile.shape[4]),
        )
        self.total[..., area[0], area[1]].addcmul_(tile, weights)
        self.weights[area] += weights

    def result(self) -> torch.Tensor:
        """Return the weighted mean of the tiles, ``1 C T y x`` float32."""
        assert self.total is not None, "no tile was added"
        return self.total.div_(self.weights)


def encode_tiles(
    vae: AutoencoderKLWan,
    frames: torch.Tensor,
    length: int,
    check_cancelled: Callable[[], None] | None = None,
) -> torch.Tensor:
    """Encode frames ``1 3 n H W``, followed by zeros up to `length` frames, to ``1 2C T h w``."""
    height, width = (side // SPATIAL_STRIDE for side in frames.shape[3:])
    stages = encoder_stages(vae.encoder)
    large, small = stages[:-2], stages[-2:]
    blend = _Blend(height, width, 1, frames.device)
    for top in tile_starts(height):
        for left in tile_starts(width):
            tile = frames[..., _pixels(top, height), _pixels(left, width)]
            zeros = tile.new_zeros(1, 3, TEMPORAL_STRIDE, *tile.shape[3:])
            steady = SteadyStages(large, new_feature_cache(vae.encoder), zeros)
            blend.add(steady.encode(tile, length, check_cancelled), top, left)
    features, cache = blend.result().to(frames.dtype), new_feature_cache(vae.encoder)
    chunks = [run_stages(small, chunk, cache) for chunk in features.split(1, dim=2)]
    return torch.cat(chunks, dim=2)


def decode_tiles(
    vae: AutoencoderKLWan, hidden_states: torch.Tensor, check_cancelled: Callable[[], None] | None = None
) -> Iterator[torch.Tensor]:
    """Decode projected latents ``1 C T h w``; yields frames like :func:`.video_vae.decode_latents`.

    The frames are assembled in host memory.
    """
    height, width = hidden_states.shape[3:]
    stages = decoder_stages(vae.decoder)
    small, large = stages[:2], stages[2:]
    cache = new_feature_cache(vae.decoder)
    features = [run_stages(small, chunk, cache) for chunk in hidden_states.split(1, dim=2)]
    blend = _Blend(height, width, SPATIAL_STRIDE, HOST)
    for top in tile_starts(height):
        for left in tile_starts(width):
            if check_cancelled is not None:
                check_cancelled()
            cache = new_feature_cache(vae.decoder)
            rows, columns = slice(top, top + TILE), slice(left, left + TILE)
            groups = [run_stages(large, chunk[..., rows, columns], cache) for chunk in features]
            blend.add(torch.cat(groups, dim=2), top, left)
    frames = blend.result()[0].clamp_(-1, 1)
    yield frames[:, :1].to(hidden_states.device)
    for group in frames[:, 1:].split(TEMPORAL_STRIDE, dim=1):
        if check_cancelled is not None:
            check_cancelled()
        yield group.to(hidden_states.device)


def _pixels(start: int, length: int) -> slice:
    """Return the range of a tile's pixels along an axis."""
    return slice(start * SPATIAL_STRIDE, min(start + TILE, length) * SPATIAL_STRIDE)
