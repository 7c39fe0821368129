"""Quantized layers in a loaded model: the names of their tensors, and quantization during loading."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..models.quantized import QuantizedLinear


def scale_name(weight: str) -> str:
    """Return the name of the scales of a quantized weight."""
    return weight.removesuffix("weight") + "scale"


def quantized_weights(model: nn.Module) -> dict[str, type[QuantizedLinear]]:
    """Return the class of each quantized layer in a model, by the name of its weight."""
    return {
        f"{name}.weight": type(layer)
        for name, layer in model.named_modules()
        if isinstance(layer, QuantizedLinear)
    }


def quantized_tensors(
    name: str, tensor: torch.Tensor, layer: type[QuantizedLinear]
) -> dict[str, torch.Tensor]:
    """Return the state of a quantized layer's weight from a stored tensor, quantized now if it is not yet."""
    if tensor.dtype == layer.weight_dtype:
        return {name: tensor}
    weight, scale = layer.quantize(tensor)
    return {name: weight, scale_name(name): scale}


def with_quantization(config: Any, quantization: str | None) -> Any:
    """Return a part's configuration with a quantization, unless it already has one."""
    if quantization is None:
        return config
    if isinstance(config, dict):
        return {**config, "quantization": config.get("quantization") or quantization}
    config.quantization = getattr(config, "quantization", None) or quantization
    return config
