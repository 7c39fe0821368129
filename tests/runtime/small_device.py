"""A device with limited memory: allocations are counted, and fail above a limit.

`DEVICE` is the CPU with an index: it computes on the CPU, but allocations for it can be distinguished from
those for the host.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("cpu:0")


class SmallDevice(TorchDispatchMode):
    """Counts the live bytes of `DEVICE`.

    Args:
        limit: Memory of the device in bytes; None is unlimited.
    """

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.live = 0
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (kwargs or {}).get("device") == DEVICE:
            self._count(result.untyped_storage())
        return result

    def start_peak(self) -> None:
        """Reset the peak to the current live bytes."""
        self.peak = self.live

    def _count(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        if self.limit is not None and self.live + size > self.limit:
            raise torch.OutOfMemoryError(f"{self.live} + {size} bytes of {self.limit}")
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.live -= size
