"""The changes that LoRAs make to a loaded model: beside the weights of its layers, and in its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..models.linear import LowRankLayer
from ..models.quantized import QuantizedLinear
from .lora import Difference


@dataclass(frozen=True)
class Slot:
    """A tensor of the baked folder in the loaded model.

    Attributes:
        name: In the folder.
        owner: Its module.
        leaf: Its name in the module.
    """

    name: str
    owner: nn.Module
    leaf: str

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The stored tensors: the tensor, and the scales of a quantized one."""
        leaves = [self.leaf, "scale"] if self.is_quantized else [self.leaf]
        return [getattr(self.owner, leaf).detach() for leaf in leaves]

    @property
    def is_quantized(self) -> bool:
        """Whether it is stored in 8 bits."""
        return isinstance(self.owner, QuantizedLinear) and self.leaf == "weight"

    @property
    def takes_low_rank(self) -> bool:
        """Whether its layer can apply a product of two matrices beside it."""
        return isinstance(self.owner, LowRankLayer) and self.leaf == "weight"

    def write(self, stored: Sequence[torch.Tensor], delta: torch.Tensor | None) -> None:
        """Set it to `stored` (an earlier copy of :attr:`tensors`) plus a change."""
        if delta is not None:
            values = [tensor.to(delta.device, torch.float32) for tensor in stored]
            if isinstance(self.owner, QuantizedLinear) and self.is_quantized:
                stored = self.owner.quantize(values[0] * values[1] + delta)
            else:
                stored = [values[0] + delta]
        for tensor, value in zip(self.tensors, stored, strict=True):
            tensor.copy_(value)


@dataclass(frozen=True)
class Product:
    """Matrices ``R K`` and ``N R`` of a layer, float32, with all factors applied."""

    down: torch.Tensor
    up: torch.Tensor


class Changes:
    """The changes that a set of LoRAs makes to a model.

    Attributes:
        beside: Products to store beside the weights of each layer.
        written: By name: a tensor to change, and the sum of its changes.
    """

    def __init__(self) -> None:
        self.beside: dict[nn.Module, list[Product]] = {}
        self.written: dict[str, tuple[Slot, torch.Tensor]] = {}

    def add(self, slots: Sequence[Slot], difference: Difference) -> None:
        """Add a change of the published tensor that was cut into `slots`."""
        if difference.down is not None and difference.up is not None and slots[0].takes_low_rank:
            # a file may store a layer's matrices with the kernel of a convolution of 1 x 1
            down, up = difference.down.flatten(1), difference.up.flatten(1) * difference.factor
            for slot, part in zip(slots, up.chunk(len(slots)), strict=True):
                self.beside.setdefault(slot.owner, []).append(Product(down, part))
            if difference.whole is None:
                return
            difference = Difference(None, None, 1.0, difference.whole)
        deltas = difference.dense(published_shape(slots)).chunk(len(slots))
        for slot, delta in zip(slots, deltas, strict=True):
            previous = self.written.get(slot.name)
            self.written[slot.name] = (slot, delta if previous is None else previous[1] + delta)


def find_slot(modules: Mapping[str, nn.Module], name: str) -> Slot | None:
    """Find a tensor in a model's modules by name; None if it is missing."""
    path, _, leaf = name.rpartition(".")
    owner = modules.get(path)
    return None if owner is None or getattr(owner, leaf, None) is None else Slot(name, owner, leaf)


def published_shape(slots: Sequence[Slot]) -> tuple[int, ...]:
    """Return the shape of the published tensor that was cut into `slots`."""
    shapes = [slot.tensors[0].shape for slot in slots]
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])
