"""Processes that torchrun started: their number, their GPU, their connection."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from ..errors import InvalidInput

# How long a process waits for another in a model call; a first call may compile its kernels.
CALL_TIMEOUT = timedelta(minutes=15)


def launched_processes() -> int:
    """How many processes torchrun has started for this run; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def launched_rank() -> int:
    """This process's number among them."""
    return int(os.environ.get("RANK", "0")) if launched_processes() > 1 else 0


def connected_processes() -> int:
    """How many processes are connected by ``torch.distributed``; 1 where it isn't in use."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def processes_here() -> int:
    """How many of them run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched_processes() > 1 else 1


def process_device(device: str | None = None) -> str:
    """The device of this process: one GPU each, or the CPU.

    Args:
        device: "cpu", "cuda", or None for GPUs where there are any.

    Raises:
        InvalidInput: There are fewer GPUs than processes, or one GPU is named for all of them.
    """
    import torch

    if device is not None and device not in ("cpu", "cuda"):
        raise InvalidInput(
            f"device is '{device}', but several processes take a GPU each: use cuda or cpu, or leave it out.",
            "device",
        )
    if device == "cpu" or (device is None and not torch.cuda.is_available()):
        return "cpu"
    local, here = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= here:
        started = os.environ.get("LOCAL_WORLD_SIZE", str(local + 1))
        raise InvalidInput(
            f"{started} processes need {started} GPUs, and this machine has {here}: "
            f"use --nproc_per_node={max(here, 1)}.",
            "device",
        )
    return f"cuda:{local}"


@contextmanager
def connected(device: str | None = None) -> Iterator[str | None]:
    """Connect the processes that torchrun has started, for the length of the block.

    Args:
        device: What the person asked for.

    Yields:
        The device of this process; without torchrun, `device` as it came.

    Raises:
        InvalidInput: There is no device for each process.
    """
    if launched_processes() == 1:
        yield device
        return
    import torch
    import torch.distributed as dist

    own = process_device(device)
    if own != "cpu":
        torch.cuda.set_device(own)
    dist.init_process_group("gloo" if own == "cpu" else "nccl", timeout=CALL_TIMEOUT)
    yield own
    # not after an error: a process that is waited for in vain would never let go
    dist.destroy_process_group()
