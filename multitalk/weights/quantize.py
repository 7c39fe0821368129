"""From published tensors to quantized layers: at bake, or when an unquantized folder is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..models.quantized import QUANTIZED_LINEARS, QuantizedLinear
from .lora import merge
from .published import QuantizedSource
from .tensor_files import DTYPE_NAMES, TensorInfo

if TYPE_CHECKING:
    from .plan import PlannedPart, PlannedTensor

Named = tuple[str, torch.Tensor]


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


def stored_infos(
    name: str, shape: tuple[int, ...], layer: type[QuantizedLinear]
) -> list[tuple[str, TensorInfo]]:
    """What is stored for a quantized layer's weights: the factors (the wider dtype) first."""
    return [
        (scale_name(name), TensorInfo("F32", (shape[0], 1))),
        (name, TensorInfo(DTYPE_NAMES[layer.weight_dtype], shape)),
    ]


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


def planned_tensors(part: PlannedPart, unit: PlannedTensor) -> Iterator[Named]:
    """What one published tensor becomes: LoRAs added, converted, then cast or quantized.

    Published int8 values and factors go as they are where the layer is int8 and no LoRA changes them.
    """
    ready = _published_int8(part, unit)
    if ready is not None:
        values, factors = (part.convert(unit.key, tensor) for tensor in ready)
        for (name, rows), (_, scale) in zip(values, factors, strict=True):
            yield scale_name(name), scale.float()
            yield name, rows
        return
    infos = dict(unit.stored)
    tensor = merge(unit.key, part.source.get(unit.key), part.loras)
    for name, converted in part.convert(unit.key, tensor):
        if scale_name(name) in infos:
            assert part.quantization is not None
            weight, scale = QUANTIZED_LINEARS[part.quantization].quantize(converted)
            yield scale_name(name), scale
            yield name, weight
        else:
            yield name, converted.to(infos[name].meta().dtype)


def _published_int8(part: PlannedPart, unit: PlannedTensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    if part.quantization != "int8" or not isinstance(part.source, QuantizedSource):
        return None
    if any(unit.key in lora for lora in part.loras):
        return None
    names = [name for name, _ in unit.stored]
    if scale_name(names[-1]) not in names:
        return None  # a layer that isn't quantized here
    return part.source.get_quantized(unit.key)
