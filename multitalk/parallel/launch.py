"""Processes that torchrun started: their number, devices and connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from ..errors import InvalidInput
from ..runtime.environment import read_text

# how long a process waits for another in a model call; the first one may compile kernels
CALL_TIMEOUT = timedelta(minutes=15)


def launched_processes() -> int:
    """Return the number of processes that torchrun started for this run; 1 without torchrun."""
    return int(read_text("WORLD_SIZE", "1")) if read_text("LOCAL_RANK") else 1


def launched_rank() -> int:
    """Return the rank of this process; 0 without torchrun."""
    return int(read_text("RANK", "0")) if launched_processes() > 1 else 0


def processes_here() -> int:
    """Return the number of processes that torchrun started on this machine; 1 without torchrun."""
    return int(read_text("LOCAL_WORLD_SIZE", "1")) if launched_processes() > 1 else 1


def process_device(device: str | None = None) -> str:
    """Choose the device of this process: a GPU for each process, or the CPU.

    Args:
        device: "cpu", "cuda", or None for GPUs if the machine has any.

    Raises:
        InvalidInput: There are fewer GPUs than processes, or `device` names a single GPU.
    """
    import torch

    if device is not None and device not in ("cpu", "cuda"):
        raise InvalidInput(
            f"device must be cuda or cpu with torchrun, not {device!r}. Each process uses its own GPU.",
            "device",
        )
    if device == "cpu" or (device is None and not torch.cuda.is_available()):
        return "cpu"
    rank, gpus = int(read_text("LOCAL_RANK", "0")), torch.cuda.device_count()
    if rank >= gpus:
        processes = read_text("LOCAL_WORLD_SIZE", str(rank + 1))
        raise InvalidInput(
            f"device: {processes} processes need {processes} GPUs, but this machine has {gpus}. "
            f"Use --nproc_per_node={max(gpus, 1)}.",
            "device",
        )
    return f"cuda:{rank}"


@contextmanager
def connected(device: str | None = None) -> Iterator[str | None]:
    """Connect the processes that torchrun started within the context.

    Args:
        device: "cpu", "cuda", or None for GPUs if the machine has any.

    Yields:
        The device of this process; without torchrun, `device` unchanged.

    Raises:
        InvalidInput: There are fewer GPUs than processes, or `device` names a single GPU.
    """
    if launched_processes() == 1:
        yield device
        return
    import torch
    import torch.distributed as dist

    device = process_device(device)
    if device != "cpu":
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if device == "cpu" else "nccl", timeout=CALL_TIMEOUT)
    yield device
    # not after an error: it would wait for the failed process
    dist.destroy_process_group()
