"""3-D convolutions on a CPU by oneDNN, whatever their size."""

from __future__ import annotations

import types

import torch
from torch import nn


def use_onednn(module: nn.Module) -> None:
    """Let every 3-D convolution of a module on a CPU run in oneDNN.

    PyTorch takes oneDNN for large inputs only. Small ones it unrolls into a matrix 27 times their size, which
    is several times slower; a small autoencoder has nothing but small ones.

    Args:
        module: Its convolutions are changed in place; their weights and results (to rounding) stay.
    """
    if not torch.backends.mkldnn.is_available():
        return
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d):
            layer._conv_forward = types.MethodType(_onednn_forward, layer)  # type: ignore[method-assign]


def _onednn_forward(
    layer: nn.Conv3d, hidden_states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    if hidden_states.device.type != "cpu" or hidden_states.dtype != torch.float32:
        return nn.Conv3d._conv_forward(layer, hidden_states, weight, bias)
    return torch.ops.aten.mkldnn_convolution(
        hidden_states, weight, bias, layer.padding, layer.stride, layer.dilation, layer.groups
    )
