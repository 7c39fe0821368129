"""The autoencoder in tiles: what is large runs piece by piece, what sees a whole frame runs on all of it.

At latent resolution, an eighth of the video's, everything is small, and there stands the attention over a
whole frame; those layers are never tiled. The rest are convolutions that look a few latents far, so a tile
that overlaps its neighbours differs from the whole only near its inner edges, which are given no weight.
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

# Side of a tile and the step to the next, in latents.
TILE, STRIDE = constants.TILE // SPATIAL_STRIDE, constants.TILE_STRIDE // SPATIAL_STRIDE
# Of the overlap so many latents at a tile's inner edge count for nothing; then its weight rises to one.
MARGIN = 2
HOST = torch.device("cpu")


def wants_tiles(vae: AutoencoderKLWan, height: int, width: int) -> bool:
    """Whether latents of a size are to be tiled."""
    return bool(vae.use_tiling) and max(height, width) > TILE


def tile_starts(length: int) -> list[int]:
    """Where tiles begin along an axis of so many latents; they are equal in size and cover it."""
    last = max(0, length - TILE)
    return [*range(0, last, STRIDE), last]


def tile_weights(start: int, length: int) -> torch.Tensor:
    """Weights of a tile's latents along an axis: 1, falling to 0 towards an edge where another tile is."""
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
    """Sums tiles, each with its weights.

    Args:
        height, width: Of the whole, in latents.
        scale: Values per latent along each axis: 1 for latents, 8 for pixels.
        device: Where the whole lies.
    """

    def __init__(self, height: int, width: int, scale: int, device: torch.device) -> None:
        self.height, self.width, self.scale, self.device = height, width, scale, device
        self.total: torch.Tensor | None = None
        self.weights = torch.zeros(height * scale, width * scale, device=device)

    def add(self, tile: torch.Tensor, top: int, left: int) -> None:
        """Add ``1 C T y x``, whose corner is given in latents."""
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
        """The whole, ``1 C T y x`` float32."""
        assert self.total is not None, "there is a tile"
        return self.total.div_(self.weights)


def encode_tiles(
    vae: AutoencoderKLWan,
    frames: torch.Tensor,
    length: int,
    check_cancelled: Callable[[], None] | None = None,
) -> torch.Tensor:
    """Encode frames ``1 3 n H W`` and zeros up to `length` frames: the encoder's output ``1 2C T h w``."""
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
    """Decode what the latents were projected to, ``1 C T h w``; yields as ``decode_latents`` does.

    The frames are put together in host memory.
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
    """The pixels of a tile along an axis."""
    return slice(start * SPATIAL_STRIDE, min(start + TILE, length) * SPATIAL_STRIDE)
