"""A module whose weights live in host memory and visit a device."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

# Tensors begin at multiples of this many bytes: what kernels ask of their operands, and a cache line.
_ALIGNMENT = 256


def give_back(device: torch.device) -> None:
    """Let the device have what torch keeps of its memory for later.

    Before weights change places: what stays for long would else be cut out of the large pieces that
    activations had, and the rest of such a piece is of no use for larger ones, however much of it is free.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()


class HostCopy:
    """All parameters and buffers of a module in one piece of host memory, so that one copy moves them.

    The module's tensors keep their identity: only where they point changes, so that whatever holds them (a
    compiled graph, a LoRA switcher) goes on working. While nothing runs they point to host memory, and what
    is written to them is written there.

    Args:
        module: Its tensors are moved to host memory at once.
        pinned: Whether that memory is page-locked, from which a GPU copies while it computes.
    """

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(self, module: nn.Module, pinned: bool) -> None:
        self._tensors = list(_tensors(module))
        self._offsets = []
        size = 0
        for tensor in self._tensors:
            self._offsets.append(size)
            size += math.ceil(tensor.nbytes / _ALIGNMENT) * _ALIGNMENT
        self.size = size
        self._host = allocate(size, torch.device("cpu"), pinned)
        views = self.views(self._host)
        for tensor, view in zip(self._tensors, views, strict=True):
            view.copy_(tensor.data)
        self._host_views = views
        self.rest()

    @torch.inference_mode(False)
    def views(self, memory: torch.Tensor) -> list[torch.Tensor]:
        """Tensors like the module's, in memory of at least `size` bytes (uint8)."""
        return [
            memory[offset : offset + tensor.nbytes]
            .view(tensor.dtype)
            .as_strided(tensor.shape, tensor.stride())
            for tensor, offset in zip(self._tensors, self._offsets, strict=True)
        ]

    def fill(self, memory: torch.Tensor) -> None:
        """Copy everything into such memory; with page-locked memory it returns before that is done."""
        memory[: self.size].copy_(self._host, non_blocking=True)

    @torch.inference_mode(False)
    def place(self, views: list[torch.Tensor]) -> None:
        """Let the module's tensors point to `views`, which :meth:`views` gave."""
        for tensor, view in zip(self._tensors, views, strict=True):
            tensor.data = view

    def rest(self) -> None:
        """Let the module's tensors point to host memory."""
        self.place(self._host_views)


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    """Parameters and buffers, each once; a LoRA's (see models/linear.py) belong to a job and stay."""
    yield from module.parameters()
    for name, buffer in module.named_buffers():
        if not name.rpartition(".")[2].startswith("lora_"):
            yield buffer


@torch.inference_mode(False)
def allocate(size: int, device: torch.device, pinned: bool = False) -> torch.Tensor:
    """Memory of so many bytes; where the system refuses to lock so much, it isn't locked."""
    if pinned:
        try:
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)
        except RuntimeError:
            pass
    return torch.empty(size, dtype=torch.uint8, device=device)
