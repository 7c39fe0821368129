"""Read the blocks that will be streamed into the host memory from which a GPU copies them."""

from __future__ import annotations

from typing import Any

import torch

from ..models.host_copy import Packing, tensors_of
from ..models.page_locked import HostMemory
from ..models.streaming import BlockStreamer, streamed_indices
from .staged import DtypeOf


class OffloadedBlocks:
    """Host memory for blocks of a model whose parameters are still on the meta device.

    Args:
        model: The model; with a count above 0 it has ``blocks``.
        count: Number of streamed blocks.
        dtype_of: Returns the dtype in which a parameter is loaded, by name; None keeps the parameter's.

    Attributes:
        memory: The memory of each streamed block, by index: exactly its tensors, each aligned.
        targets: By name: the place of each of their parameters.
    """

    def __init__(self, model: Any, count: int, dtype_of: DtypeOf) -> None:
        self._model = model
        self.memory: dict[int, HostMemory] = {}
        self.targets: dict[str, torch.Tensor] = {}
        for index in streamed_indices(len(model.blocks), count) if count else ():
            block = model.blocks[index]
            names = {}
            for name, parameter in block.named_parameters(f"blocks.{index}"):
                parameter.data = parameter.data.to(dtype_of(name) or parameter.dtype)
                names[parameter] = name
            tensors = list(tensors_of(block))
            packing = Packing(tensors)
            memory = self.memory[index] = HostMemory(packing.size)
            places = zip(tensors, packing.views(memory.bytes), strict=True)
            self.targets |= {names[tensor]: place for tensor, place in places if tensor in names}

    def take(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the model, written to its place in host memory if it has one."""
        target = self.targets.get(name)
        if target is None or target.shape != value.shape:  # a shape is reported by the caller
            return value
        return value if value is target else target.copy_(value)

    def streamer(self, device: torch.device) -> BlockStreamer:
        """Return a streamer of the blocks, after the model has its tensors."""
        memory = {index: memory.bytes for index, memory in self.memory.items()}
        return BlockStreamer(list(self._model.blocks), device, len(memory), memory)
