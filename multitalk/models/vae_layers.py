"""Layers of diffusers' Wan autoencoder that pass over the frames less often."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanRMS_norm, WanUpsample
from torch import nn

from ..patches.torch import use_onednn


class ChannelNorm(nn.Module):
    """RMS norm over the channels, with float32 sums and no float32 copy of half-precision frames.

    Args:
        norm: The layer to replace, whose parameter is shared.
    """

    def __init__(self, norm: WanRMS_norm) -> None:
        super().__init__()
        self.gamma, self.scale = norm.gamma, norm.scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize ``B C ...``."""
        channels_last = x.movedim(1, -1)
        # several times faster than rms_norm if the channels are contiguous
        length = torch.linalg.vector_norm(channels_last, dim=-1, keepdim=True, dtype=torch.float32)
        factor = (self.scale / length.clamp_min(1e-12)).to(x.dtype)
        return (channels_last * factor).mul_(self.gamma.flatten()).movedim(-1, 1)


class CausalConv3d(nn.Conv3d):
    """A causal convolution that pads height and width while it runs, not in a padded copy.

    Args:
        layer: The layer to replace, whose parameters are shared.
    """

    def __init__(self, layer: WanCausalConv3d) -> None:
        width, _, height, _, self.earlier_frames, _ = layer._padding
        super().__init__(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            layer.stride,
            (0, height, width),
            device="meta",
        )
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: torch.Tensor, cache_x: torch.Tensor | None = None) -> torch.Tensor:
        """Convolve the frames ``B C T H W`` after those in the cache, or after zeros."""
        missing = self.earlier_frames
        if cache_x is not None and missing:
            x = torch.cat([cache_x.to(x.device), x], dim=2)
            missing -= cache_x.shape[2]
        if missing:
            x = F.pad(x, (0, 0, 0, 0, missing, 0))
        return super().forward(x)


def use_fast_layers(network: nn.Module) -> None:
    """Replace the norms, convolutions and upsampling of diffusers' Wan autoencoder, or of a part of it.

    Parameters and their names stay; results are equal up to rounding.

    Args:
        network: Changed in place.
    """
    for parent in list(network.modules()):
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
