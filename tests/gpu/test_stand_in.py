"""The stand-in GPU finds what it looks for: each test makes one mistake."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from multitalk.models import page_locked
from multitalk.models.host_copy import HostCopy
from multitalk.models.streaming import BlockStreamer
from multitalk.runtime.gpus import GPUS
from multitalk.runtime.report import usual_machine

from .allocator import CachingAllocator
from .stand_in import DEVICE, StandInGpu

MB = 1 << 20


def make_gpu(name: str, patch: pytest.MonkeyPatch) -> StandInGpu:
    sheet = next(sheet for sheet in GPUS if sheet.name == name)
    return StandInGpu(replace(usual_machine(sheet), device=str(DEVICE)), patch)


@pytest.fixture
def gpu(monkeypatch) -> Iterator[StandInGpu]:
    with make_gpu("H100", monkeypatch).running() as gpu, torch.inference_mode():
        yield gpu


def on_device(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device=DEVICE)


def test_tensors_of_two_devices(gpu):
    with pytest.raises(RuntimeError, match=r"same device|two different devices"):
        on_device(4) + torch.empty(4)


def test_products_of_two_dtypes(gpu):
    for product in (F.linear, torch.mm):
        with pytest.raises(RuntimeError, match=r"in \{"):
            product(on_device(8, 8), on_device(8, 8, dtype=torch.bfloat16))


def test_what_a_gpu_cannot_compute(monkeypatch):
    with make_gpu("V100 16 GB", monkeypatch).running(), torch.inference_mode():
        with pytest.raises(RuntimeError, match="in bfloat16"):
            F.silu(on_device(8, dtype=torch.bfloat16))
        with pytest.raises(RuntimeError, match="_int_mm needs capability"):
            torch._int_mm(on_device(32, 32, dtype=torch.int8), on_device(32, 32, dtype=torch.int8))


@pytest.mark.parametrize(
    "read",
    [lambda value: value.item(), lambda value: bool(value > 0), lambda value: value.cpu(), float],
    ids=["item", "bool", "cpu", "float"],
)
def test_reading_a_value_waits(gpu, read):
    value = on_device(1)
    with gpu.region("step") as step:
        read(value)
    assert len(step.waits) == 1
    assert "test_stand_in.py" in step.waits[0]


def test_waiting_for_the_last_event_waits(gpu):
    tensor = on_device(4)
    with gpu.region("step") as step:
        event = torch.cuda.Event()
        event.record()
        tensor + 1
        event.synchronize()
        assert step.waits == []
        event.record()
        event.synchronize()
        torch.cuda.synchronize()
    assert len(step.waits) == 2


def test_a_pageable_copy_blocks(gpu):
    pinned, pageable = torch.empty(4, pin_memory=True), torch.empty(4)
    with gpu.region("step") as step:
        on_device(4).copy_(pageable, non_blocking=True)
        pageable.to(DEVICE, non_blocking=True)
        torch.tensor([1.0, 2.0], device=DEVICE)
        assert [copy.pinned or not copy.blocking for copy in step.copies] == [False] * 3
        assert len(step.waits) == 3
        on_device(4).copy_(pinned, non_blocking=True)
        assert len(step.waits) == 3
        pinned.to(DEVICE)
    assert [copy.blocking for copy in step.copies[3:]] == [False, True]


def test_streams_without_order(gpu):
    host, slot = torch.empty(4, pin_memory=True), on_device(4)
    side = torch.cuda.Stream(DEVICE)
    side.wait_stream(torch.cuda.current_stream(DEVICE))
    with torch.cuda.stream(side):
        slot.copy_(host, non_blocking=True)
    assert gpu.races == []
    slot + 1
    assert len(gpu.races) == 1, "the copy may still run"
    event = torch.cuda.Event()
    event.record(side)
    torch.cuda.current_stream(DEVICE).wait_event(event)
    slot + 1
    assert len(gpu.races) == 1
    with torch.cuda.stream(side):
        slot.copy_(host, non_blocking=True)
    assert len(gpu.races) == 2, "the sum may still run"
    side.wait_stream(torch.cuda.current_stream(DEVICE))
    with torch.cuda.stream(side):
        slot.copy_(host, non_blocking=True)
    assert len(gpu.races) == 2
    del slot
    assert len(gpu.races) == 3, "the next owner of the memory does not wait for the copy"


def test_reading_frames_too_early(gpu):
    frames = torch.empty(2, 4, pin_memory=True)
    frames[0].copy_(on_device(4), non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    frames[1].copy_(on_device(4), non_blocking=True)
    event.synchronize()
    frames[0].sum()
    assert gpu.races == []
    frames[1].sum()
    assert len(gpu.races) == 1


def test_memory_in_use(gpu):
    with gpu.region("step") as step:
        kept = on_device(3 * MB, dtype=torch.uint8)
        on_device(5 * MB, dtype=torch.uint8)
        view = kept[:7]
        del kept
        on_device(1, dtype=torch.uint8)
    assert step.peak == 8 * MB
    assert gpu.allocator.allocated == 3 * MB
    del view
    assert gpu.allocator.allocated == 0


def test_scores_that_a_fallback_stores(gpu):
    """Without a kernel for the widths, PyTorch stores all scores."""
    query, value = on_device(1, 2, 2048, 64), on_device(1, 2, 2048, 63)
    with gpu.region("step") as step:
        F.scaled_dot_product_attention(query, query, value)
    assert gpu.attention.used == {"math": 1}
    assert step.peak >= query.nbytes + value.nbytes + 2 * 2048 * 2048 * 4


def test_modules_move(gpu):
    with torch.inference_mode(False):
        layer = nn.Linear(512, 512)
        weight = layer.weight
        layer.to(DEVICE)
        assert layer.weight is weight
        assert gpu.allocator.allocated == 4 * (512 * 512 + 512)
        copy = HostCopy(layer, DEVICE)
    assert weight.device.type == "cpu"
    assert gpu.allocator.allocated == 0
    copy.place(copy.views(on_device(copy.size, dtype=torch.uint8)))
    assert weight.device == DEVICE


@pytest.mark.parametrize("refuses", [False, True])
def test_streamed_blocks_are_page_locked(gpu, refuses, caplog):
    """Exactly their bytes; where the system refuses, copies from pageable memory block."""
    gpu.refuses_to_lock = refuses
    page_locked._warn.cache_clear()
    blocks = nn.ModuleList(nn.Linear(100, 33, dtype=torch.bfloat16) for _ in range(4))
    streamer = BlockStreamer(blocks, DEVICE, 3)
    assert sum(gpu.locked.values()) == (0 if refuses else 3 * (6656 + 256)), "26 and 1 times 256"
    with gpu.region("run") as run:
        for block in streamer.run():
            block(on_device(1, 100, dtype=torch.bfloat16))
    assert [(copy.pinned, copy.blocking) for copy in run.copies] == [(not refuses, refuses)] * 3
    assert gpu.races == []
    assert len(caplog.records) == refuses
    streamer.set_count(1)
    assert sum(gpu.locked.values()) == (0 if refuses else 6656 + 256)
    del streamer, blocks, block
    gc.collect()
    assert gpu.locked == {}


def test_the_caching_allocator():
    allocator = CachingAllocator()
    small, large = allocator.allocate(100), allocator.allocate(3 * MB)
    assert (allocator.allocated, allocator.reserved) == (512 + 3 * MB, 22 * MB)
    allocator.release(large)
    whole = allocator.allocate(20 * MB)
    assert allocator.reserved == 22 * MB, "joined with its neighbor, the segment fits again"
    other = allocator.allocate(11 * MB)
    assert allocator.reserved == 34 * MB, "an allocation of 10 MB or more gets a segment of its own size"
    for block in (small, whole, other):
        allocator.release(block)
    assert (allocator.allocated, allocator.peak_allocated) == (0, 512 + 32 * MB), "1 MB is not split off"
    allocator.empty_cache()
    assert allocator.reserved == 0


def test_the_allocator_frees_segments_before_it_fails():
    allocator = CachingAllocator(limit=40 * MB)
    allocator.release(allocator.allocate(30 * MB))
    allocator.allocate(32 * MB)
    assert allocator.reserved == 32 * MB
    with pytest.raises(torch.OutOfMemoryError, match="do not fit"):
        allocator.allocate(10 * MB)
