"""Convert one published tensor into stored tensors: add LoRAs, rename, cast or quantize."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ..models.quantized import QUANTIZED_LINEARS, QuantizedLinear
from ..weights.libraries import scale_name
from ..weights.lora import merge
from ..weights.tensor_files import DTYPE_NAMES, TensorInfo
from .audio_layers import get_quantized

if TYPE_CHECKING:
    from .steps import PartSteps, TensorStep


def stored_infos(
    name: str, shape: tuple[int, ...], layer: type[QuantizedLinear]
) -> list[tuple[str, TensorInfo]]:
    """Describe the stored tensors of a quantized weight: the scales first, which have the wider dtype."""
    return [
        (scale_name(name), TensorInfo("F32", (shape[0], 1))),
        (name, TensorInfo(DTYPE_NAMES[layer.weight_dtype], shape)),
    ]


def run_step(part: PartSteps, step: TensorStep) -> Iterator[tuple[str, torch.Tensor]]:
    """Convert one published tensor and yield the tensors to store.

    Published 8-bit values and scales are stored unchanged where the layer has their precision and no LoRA
    changes it.
    """
    published = _published_values(part, step)
    if published is not None:
        values, scales = (part.convert(step.key, tensor) for tensor in published)
        for (name, rows), (_, scale) in zip(values, scales, strict=True):
            yield scale_name(name), scale.float()
            yield name, rows
        return
    infos = dict(step.stored)
    tensor = merge(step.key, part.source.get(step.key), part.loras)
    for name, converted in part.convert(step.key, tensor):
        if scale_name(name) in infos:
            assert part.quantization is not None
            weight, scale = QUANTIZED_LINEARS[part.quantization].quantize(converted)
            yield scale_name(name), scale
            yield name, weight
        else:
            yield name, converted.to(infos[name].meta().dtype)


def _published_values(part: PartSteps, step: TensorStep) -> tuple[torch.Tensor, torch.Tensor] | None:
    if part.quantization is None or any(step.key in lora for lora in part.loras):
        return None
    names = [name for name, _ in step.stored]
    if scale_name(names[-1]) not in names:
        return None  # the layer is not quantized here
    published = get_quantized(part.source, step.key)
    if published is None or published[0].dtype != QUANTIZED_LINEARS[part.quantization].weight_dtype:
        return None
    return published
