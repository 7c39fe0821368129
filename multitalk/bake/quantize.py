"""From published tensors to quantized layers: at bake, or when an unquantized folder is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ..models.quantized import QUANTIZED_LINEARS, QuantizedLinear
from ..weights.lora import merge
from ..weights.quantization import scale_name
from ..weights.tensor_files import DTYPE_NAMES, TensorInfo
from .published import QuantizedSource

if TYPE_CHECKING:
    from .steps import PlannedPart, PlannedTensor

Named = tuple[str, torch.Tensor]


def stored_infos(
    name: str, shape: tuple[int, ...], layer: type[QuantizedLinear]
) -> list[tuple[str, TensorInfo]]:
    """What is stored for a quantized layer's weights: the factors (the wider dtype) first."""
    return [
        (scale_name(name), TensorInfo("F32", (shape[0], 1))),
        (name, TensorInfo(DTYPE_NAMES[layer.weight_dtype], shape)),
    ]


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
