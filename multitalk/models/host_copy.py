"""Modules that are offloaded to host memory and loaded onto a device when they run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from .page_locked import allocate_on_host

# Alignment of tensors in bytes: what kernels require of their operands, and a cache line.
_ALIGNMENT = 256


def release_cached_memory(device: torch.device) -> None:
    """Return the memory that torch caches to the device.

    Call it before weights are moved. Otherwise long-lived weights are placed inside the large blocks that
    activations have used, and the rest of such a block is too small for other large tensors.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()


class Packing:
    """The places of tensors in one block of memory.

    Args:
        tensors: Of any device including meta; only their dtypes, shapes and strides are used.

    Attributes:
        size: Bytes of the block.
    """

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self._tensors = list(tensors)
        self._offsets = []
        self.size = 0
        for tensor in self._tensors:
            self._offsets.append(self.size)
            self.size += math.ceil(tensor.nbytes / _ALIGNMENT) * _ALIGNMENT

    @torch.inference_mode(False)
    def views(self, memory: torch.Tensor) -> list[torch.Tensor]:
        """Return tensors like these in `memory`, which has at least `size` bytes (uint8)."""
        return [
            memory[offset : offset + tensor.nbytes]
            .view(tensor.dtype)
            .as_strided(tensor.shape, tensor.stride())
            for tensor, offset in zip(self._tensors, self._offsets, strict=True)
        ]


class HostCopy:
    """All parameters and buffers of a module in one block of host memory, so that one copy moves them.

    The module's tensors keep their identity; only their storage changes. Objects that hold them (a compiled
    graph, a LoRA switcher) stay valid. While the module does not run, its tensors point to host memory, and
    writes to them change the host copy.

    Args:
        module: Its tensors are moved to host memory immediately.
        device: Device that runs the module. Memory for a GPU is page-locked.
        memory: Host memory (uint8) in which the module's parameters already are, packed (:class:`Packing`);
            None allocates it.
        mapped: Leave the tensors where they are in host memory, such as in mapped files. Copies to a GPU then
            block.
    """

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        memory: torch.Tensor | None = None,
        mapped: bool = False,
    ) -> None:
        self._tensors = list(tensors_of(module))
        self._packing = Packing(self._tensors)
        self.size = self._packing.size
        self._host: torch.Tensor | None = None
        if mapped:
            self._host_views = [tensor.data.cpu() for tensor in self._tensors]
        else:
            self._host = allocate_on_host(self.size, device) if memory is None else memory
            self._host_views = self.views(self._host)
            for tensor, view in zip(self._tensors, self._host_views, strict=True):
                if memory is None or tensor.data_ptr() != view.data_ptr():
                    view.copy_(tensor.data)
        self.offload()

    def views(self, memory: torch.Tensor) -> list[torch.Tensor]:
        """Return tensors like the module's in `memory`, which has at least `size` bytes (uint8)."""
        return self._packing.views(memory)

    def fill(self, memory: torch.Tensor) -> None:
        """Copy all tensors into `memory`; asynchronous when the host memory is page-locked."""
        if self._host is not None:
            memory[: self.size].copy_(self._host, non_blocking=True)
            return
        for view, tensor in zip(self.views(memory), self._host_views, strict=True):
            view.copy_(tensor, non_blocking=True)

    @torch.inference_mode(False)
    def place(self, views: list[torch.Tensor]) -> None:
        """Point the module's tensors to `views`, returned by :meth:`views`."""
        for tensor, view in zip(self._tensors, views, strict=True):
            tensor.data = view

    def offload(self) -> None:
        """Point the module's tensors to host memory."""
        self.place(self._host_views)


def tensors_of(module: nn.Module) -> Iterator[torch.Tensor]:
    """Yield parameters and buffers, each once, without LoRAs: those belong to a job (models/linear.py)."""
    yield from module.parameters()
    for name, buffer in module.named_buffers():
        if not name.rpartition(".")[2].startswith("lora_"):
            yield buffer


@torch.inference_mode(False)
def allocate(size: int, device: torch.device) -> torch.Tensor:
    """Allocate `size` bytes on a device (uint8)."""
    return torch.empty(size, dtype=torch.uint8, device=device)
