"""Host memory of an exact size, page-locked so that a GPU copies from it while it computes.

PyTorch rounds page-locked allocations up to a power of two. Here, ordinary pages are registered with CUDA
instead, which rounds to the size of a page.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache

import torch

logger = logging.getLogger(__name__)

_PORTABLE = 1  # cudaHostRegisterPortable: page-locked for every CUDA context


class HostMemory:
    """Zeroed host memory, aligned to a page. The system gets it back when the last tensor in it is freed.

    Args:
        size: Bytes.

    Attributes:
        bytes: ``size`` uint8.

    Raises:
        MemoryError: The system has less.
    """

    def __init__(self, size: int) -> None:
        try:
            self._pages = _Pages(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise MemoryError(f"{size} bytes of host memory cannot be allocated: {error}") from error
        self.bytes = torch.frombuffer(self._pages, dtype=torch.uint8)[:size]

    def lock(self, device: torch.device) -> int:
        """Lock the pages for copies to a CUDA device. See :func:`page_locking`.

        Returns:
            CUDA's error code; 0 after success.
        """
        return self._pages.register(device)


class _Pages(mmap.mmap):
    """Pages that are unregistered from CUDA before the system gets them back."""

    _device: torch.device | None = None

    @property
    def _address(self) -> int:
        return ctypes.addressof(ctypes.c_char.from_buffer(self))

    def register(self, device: torch.device) -> int:
        self.madvise(mmap.MADV_DONTFORK)  # a forked process would get a copy of all locked pages
        with torch.cuda.device(device):
            code = int(torch.cuda.cudart().cudaHostRegister(self._address, len(self), _PORTABLE))
        if code == 0:
            self._device = device
        return code

    def __del__(self) -> None:
        if self._device is None or sys.is_finalizing():
            return
        # after a failed kernel, every call fails; nobody could handle the error of a destructor
        with suppress(Exception):
            torch.cuda.synchronize(self._device)  # copies from these pages may be pending
        with suppress(Exception):
            torch.cuda.cudart().cudaHostUnregister(self._address)


@contextmanager
def page_locking(memories: Iterable[HostMemory], device: torch.device) -> Iterator[None]:
    """Lock memory in another thread while the context runs.

    Memory that the system does not lock stays pageable: copies from it block, with a warning. On a CPU,
    nothing is locked.

    Args:
        memories: To lock, in this order.
        device: Device that copies from it.
    """
    if device.type != "cuda":
        yield
        return
    # the error of a refused registration would be raised by the next CUDA call of its thread
    threads = ThreadPoolExecutor(1, thread_name_prefix="page-locking")
    try:
        codes = [threads.submit(memory.lock, device) for memory in memories]
        yield
        for code in {code.result() for code in codes} - {0}:
            _warn(code)
    finally:
        threads.shutdown(cancel_futures=True)


@cache
def _warn(code: int) -> None:
    """Say once per error that copies are slower."""
    logger.warning(
        "Host memory for offloaded weights cannot be page-locked (CUDA error %d). Copies to the GPU block "
        "and are slower. In a container, allow it with --ulimit memlock=-1.",
        code,
    )


def allocate_on_host(size: int, device: torch.device) -> torch.Tensor:
    """Allocate ``size`` bytes of host memory (uint8), page-locked if the device is a GPU."""
    memory = HostMemory(size)
    with page_locking([memory], device):
        return memory.bytes
