"""Quantized layers of a model that is loaded: their tensors' names, and quantizing while loading."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..models.quantized import QuantizedLinear


def scale_name(weight: str) -> str:
    """Name of the factors of a quantized layer's weights."""
    return weight.removesuffix("weight") + "scale"


def quantized_weights(model: nn.Module) -> dict[str, type[QuantizedLinear]]:
    """Names of a model's quantized weights, and the kind of their layer."""
    return {
        f"{name}.weight": type(layer)
        for name, layer in model.named_modules()
        if isinstance(layer, QuantizedLinear)
    }


def quantized_tensors(
    name: str, tensor: torch.Tensor, layer: type[QuantizedLinear]
) -> dict[str, torch.Tensor]:
    """The state of a quantized layer's weights from what a folder has: as it is, or quantized now."""
    if tensor.dtype == layer.weight_dtype:
        return {name: tensor}
    weight, scale = layer.quantize(tensor)
    return {name: weight, scale_name(name): scale}


def with_quantization(config: Any, quantization: str | None) -> Any:
    """A part's configuration whose layers are to be quantized, unless it says so already."""
    if quantization is None:
        return config
    if isinstance(config, dict):
        return {**config, "quantization": config.get("quantization") or quantization}
    config.quantization = getattr(config, "quantization", None) or quantization
    return config
