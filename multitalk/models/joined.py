"""Layers that share their input as one layer: fused query, key and value projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from .linear import LoraLinear
from .quantized import QuantizedLinear

_REGISTER = "joined_layers"


@dataclass(frozen=True)
class JoinedRows:
    """Where a layer went that was joined with others.

    Attributes:
        layer: Name of the joint layer, beside where it was.
        rows: Its rows there.
    """

    layer: str
    rows: slice


def join_rows(layers: Sequence[LoraLinear] | Sequence[QuantizedLinear]) -> LoraLinear | QuantizedLinear:
    """One layer that gives what several give, side by side.

    Args:
        layers: All plain, or all of one quantized kind; they share their input. Rows keep their factors, so
            nothing is rounded again.

    Returns:
        A new layer of the same kind, without a LoRA.
    """
    first = layers[0]
    rows = sum(layer.out_features for layer in layers)
    with torch.device("meta"):
        joined = type(first)(first.in_features, rows, first.bias is not None)
    for name, parameter in first.named_parameters(recurse=False):
        values = torch.cat([getattr(layer, name).detach() for layer in layers])
        setattr(joined, name, nn.Parameter(values, requires_grad=parameter.requires_grad))
    if isinstance(first, QuantizedLinear) and isinstance(joined, QuantizedLinear):
        joined.matmul, joined.minimal_rows = first.matmul, first.minimal_rows
    return joined.train(first.training)


def join_children(parent: nn.Module, names: Sequence[str], joined_name: str) -> None:
    """Replace children of a module by one layer, and note where each went, so that LoRAs still find it.

    Args:
        parent: Such as an attention.
        names: Its children that share their input, such as ``to_q``, ``to_k``, ``to_v``; they are removed.
        joined_name: Name of the new child, such as ``to_qkv``.
    """
    layers = [getattr(parent, name) for name in names]
    setattr(parent, joined_name, join_rows(layers))
    register = dict(getattr(parent, _REGISTER, {}))
    start = 0
    for name, layer in zip(names, layers, strict=True):
        register[name] = JoinedRows(joined_name, slice(start, start + layer.out_features))
        start += layer.out_features
        delattr(parent, name)
    setattr(parent, _REGISTER, register)


def find_joined(parent: nn.Module, name: str) -> JoinedRows | None:
    """Where a child of a module went; None where it wasn't joined."""
    return getattr(parent, _REGISTER, {}).get(name)
