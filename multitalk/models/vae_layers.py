"""Layers of diffusers' Wan autoencoder that pass over the frames less often."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanCausalConv3d,
    WanResidualBlock,
    WanRMS_norm,
    WanUpsample,
)
from torch import nn

from ..patches.torch import use_onednn

# The last input frames of each causal convolution; diffusers' layers read and replace the entries in order.
FeatureCache = list[torch.Tensor | str | None]


class ChannelNorm(nn.Module):
    """RMS norm over the channels, with float32 sums and no float32 copy of half-precision frames.

    Args:
        norm: The layer to replace, whose parameter is shared.
    """

    def __init__(self, norm: WanRMS_norm) -> None:
        super().__init__()
        self.gamma, self.scale = norm.gamma, norm.scale

    def forward(self, x: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Normalize ``B C ...``, into `out` if it is given."""
        channels_last = x.movedim(1, -1)
        # several times faster than rms_norm if the channels are contiguous
        length = torch.linalg.vector_norm(channels_last, dim=-1, keepdim=True, dtype=torch.float32)
        factor = (self.scale / length.clamp_min(1e-12)).to(x.dtype)
        result = None if out is None else out.movedim(1, -1)
        return torch.mul(channels_last, factor, out=result).mul_(self.gamma.flatten()).movedim(-1, 1)


class CausalConv3d(nn.Conv3d):
    """A causal convolution that pads height and width while it runs, not in a padded copy.

    Weights of past frames that are all zero, as in the embedded autoencoder at high resolution, are not used.

    Args:
        layer: The layer to replace, whose parameters are shared.
    """

    def __init__(self, layer: WanCausalConv3d) -> None:
        width, _, height, _, earlier_frames, _ = layer._padding
        super().__init__(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            layer.stride,
            (0, height, width),
            device="meta",
        )
        self.weight, self.bias = layer.weight, layer.bias
        self.unused_frames = min(earlier_frames, _leading_zeros(layer.weight))
        self.earlier_frames = earlier_frames - self.unused_frames

    def forward(self, x: torch.Tensor, cache_x: torch.Tensor | None = None) -> torch.Tensor:
        """Convolve the frames ``B C T H W`` after those in the cache, or after zeros."""
        missing = self.earlier_frames
        if cache_x is not None and missing:
            before = cache_x[:, :, -missing:]
            missing -= before.shape[2]
            x = torch.cat([before.to(x.device), x], dim=2)
        return self.convolve(F.pad(x, (0, 0, 0, 0, missing, 0)) if missing else x)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve the frames ``B C T H W``, the first of which are the `earlier_frames`."""
        return self._conv_forward(x, self.weight[:, :, self.unused_frames :], self.bias)


def _leading_zeros(weight: torch.Tensor) -> int:
    """Return how many of the first frames of a kernel ``O I T H W`` are zero; 0 unless it is on the CPU."""
    count = 0
    if weight.device.type == "cpu":
        # the first output channel nearly always decides, so the other weights are not read from disk
        while count < weight.shape[2] and not weight[0, :, count].any() and not weight[:, :, count].any():
            count += 1
    return count


def norm_and_convolve(
    norm: ChannelNorm, convolution: CausalConv3d, x: torch.Tensor, cache: FeatureCache, position: list[int]
) -> torch.Tensor:
    """Run a norm, SiLU and a causal convolution, whose input is written behind the cached frames.

    Args:
        norm: The norm.
        convolution: The convolution; its entry of the cache is replaced.
        x: ``B C T H W``.
        cache: Of all convolutions of the network.
        position: The index of the entry, which is increased.
    """
    index, earlier = position[0], convolution.earlier_frames
    position[0] += 1
    size = list(x.shape)
    size[2] += earlier
    last = x.is_contiguous(memory_format=torch.channels_last_3d)
    layout = torch.channels_last_3d if last else torch.contiguous_format
    frames = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout)
    F.silu(norm(x, out=frames[:, :, earlier:]), inplace=True)
    if earlier:
        before = cache[index]
        if isinstance(before, torch.Tensor):
            frames[:, :, :earlier] = before
        else:
            frames[:, :, :earlier] = 0
        cache[index] = frames[:, :, -earlier:].clone()
    return convolution.convolve(frames)


class ResidualBlock(nn.Module):
    """Two norms and convolutions beside a residual connection.

    Args:
        block: The block to replace, whose layers are shared and already replaced.
    """

    def __init__(self, block: WanResidualBlock) -> None:
        super().__init__()
        self.norm1, self.conv1 = block.norm1, block.conv1
        self.norm2, self.conv2 = block.norm2, block.conv2
        self.conv_shortcut = block.conv_shortcut

    def forward(self, x: torch.Tensor, feat_cache: FeatureCache, feat_idx: list[int]) -> torch.Tensor:
        """Return ``B C T H W`` for ``B C T H W``; diffusers names the arguments."""
        shortcut = self.conv_shortcut(x)
        x = norm_and_convolve(self.norm1, self.conv1, x, feat_cache, feat_idx)
        return norm_and_convolve(self.norm2, self.conv2, x, feat_cache, feat_idx).add_(shortcut)


def use_fast_layers(network: nn.Module) -> None:
    """Replace the residual blocks, norms, convolutions and upsampling of diffusers' Wan autoencoder.

    Parameters and their names stay; results are equal up to rounding. It then runs with a feature cache and
    without gradients only. The weights must be loaded: zeros are found now, not later.

    Args:
        network: Changed in place.
    """
    for parent in reversed(list(network.modules())):  # a block's layers before the block
        for name, layer in list(parent.named_children()):
            replacement = _replacement(layer)
            if replacement is not None:
                setattr(parent, name, replacement)
    use_onednn(network)


def _replacement(layer: nn.Module) -> nn.Module | None:
    if isinstance(layer, WanRMS_norm):
        return ChannelNorm(layer)
    if isinstance(layer, WanCausalConv3d):
        return CausalConv3d(layer)
    if isinstance(layer, WanResidualBlock):
        return ResidualBlock(layer)
    if isinstance(layer, WanUpsample):
        # nearest: it copies values, in any dtype
        return nn.Upsample(scale_factor=layer.scale_factor, mode=layer.mode)
    return None


def use_channels_last(network: nn.Module) -> None:
    """Store the weights of convolutions with their channels last; activations follow.

    Args:
        network: Changed in place.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            layout = torch.channels_last_3d if isinstance(module, nn.Conv3d) else torch.channels_last
            module.weight.data = module.weight.data.to(memory_format=layout)
