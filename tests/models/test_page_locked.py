"""Page-locked memory: exact sizes, refusals, and what is unlocked before it is freed."""

from __future__ import annotations

import ctypes
import gc
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from multitalk.models import page_locked
from multitalk.models.page_locked import HostMemory, allocate_on_host, page_locking

GPU = torch.device("cuda:0")


class Cuda:
    """CUDA's registration of host memory, on real memory.

    Attributes:
        code: What registering returns.
        locked: Sizes by address.
        events: What was called.
        threads: That registered.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.code = 0
        self.locked: dict[int, int] = {}
        self.events: list[object] = []
        self.threads: set[threading.Thread] = set()
        functions = SimpleNamespace(cudaHostRegister=self._register, cudaHostUnregister=self._unregister)
        patch.setattr(torch.cuda, "cudart", lambda: functions)
        patch.setattr(torch.cuda, "device", lambda device: nullcontext())
        patch.setattr(torch.cuda, "synchronize", lambda device: self.events.append("synchronized"))
        page_locked._warn.cache_clear()

    def _register(self, address: int, size: int, flags: int) -> int:
        assert flags == 1
        self.threads.add(threading.current_thread())
        if self.code == 0:
            self.locked[address] = size
        return self.code

    def _unregister(self, address: int) -> int:
        size = self.locked.pop(address)
        self.events.append(ctypes.string_at(address, size))  # the memory still exists
        return 0


@pytest.fixture
def cuda(monkeypatch) -> Cuda:
    return Cuda(monkeypatch)


def test_exact_sizes_are_locked_until_the_last_tensor_is_freed(cuda):
    memory = allocate_on_host(5000, GPU)
    assert memory.tolist() == [0] * 5000
    assert cuda.locked == {memory.data_ptr(): 5000}
    assert memory.data_ptr() % 4096 == 0
    part = memory[4990:].fill_(7)
    del memory
    gc.collect()
    assert cuda.events == []
    assert part.tolist() == [7] * 10
    del part
    assert cuda.events == ["synchronized", bytes(4990) + b"\7" * 10]
    assert cuda.locked == {}


def test_memory_is_locked_while_it_is_filled(cuda):
    memories = [HostMemory(100), HostMemory(8192), HostMemory(0)]
    with page_locking(memories, GPU):
        for memory in memories:
            memory.bytes.fill_(1)
    assert sorted(cuda.locked.values()) == [1, 100, 8192], "CUDA refuses 0 bytes"
    assert [len(memory.bytes) for memory in memories] == [100, 8192, 0]


def test_a_refusal_leaves_pageable_memory_with_one_warning(cuda, caplog):
    cuda.code = 2
    memories = [allocate_on_host(size, GPU) for size in (1000, 2000)]
    assert [len(memory.fill_(3)) for memory in memories] == [1000, 2000]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cannot be page-locked (CUDA error 2). Copies to the GPU block" in caplog.text
    # there it would be raised by the next call
    assert threading.current_thread() not in cuda.threads
    del memories
    assert cuda.events == []


def test_an_error_while_memory_is_filled(cuda):
    memory = HostMemory(10)
    with pytest.raises(KeyError), page_locking([memory], GPU):
        raise KeyError
    del memory
    gc.collect()
    assert cuda.locked == {}


def test_a_cpu_locks_nothing(cuda):
    assert len(allocate_on_host(10, torch.device("cpu"))) == 10
    assert cuda.threads == set()


def test_more_memory_than_the_system_has():
    with pytest.raises(MemoryError, match="10000000000000000 bytes of host memory cannot be allocated"):
        HostMemory(10**16)
