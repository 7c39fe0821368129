"""Memory and device health between jobs."""

from __future__ import annotations

import contextlib
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.process_memory import peak_memory, trim

if TYPE_CHECKING:
    import torch

_RESET_PEAK = Path("/proc/self/clear_refs")


def reset_peaks() -> None:
    """Start measuring a job's peak memory; without system support the process's peak is reported."""
    with contextlib.suppress(OSError):
        _RESET_PEAK.write_text("5")
    cuda = _cuda()
    if cuda is not None:
        with contextlib.suppress(RuntimeError):  # a broken CUDA context is detected by check_device
            cuda.reset_peak_memory_stats()


def peaks() -> dict[str, Any]:
    """Return peak memory in bytes since ``reset_peaks``, of the process and of the GPU, if any."""
    measured: dict[str, Any] = {}
    if (peak := peak_memory()) is not None:
        measured["peak_memory"] = peak
    cuda = _cuda()
    if cuda is not None:
        with contextlib.suppress(RuntimeError):
            measured["peak_gpu_memory"] = int(cuda.max_memory_allocated())
    return measured


def release() -> None:
    """Free what a finished job leaves: reference cycles, cached GPU blocks, free pages of the C library."""
    gc.collect()
    cuda = _cuda()
    if cuda is not None:
        with contextlib.suppress(RuntimeError):
            cuda.empty_cache()
    trim()


def check_device(device: torch.device) -> None:
    """Run a small computation on the model's device.

    Raises:
        RuntimeError: The computation failed. After some errors (an illegal address, a failed assertion) every
            later CUDA call of the process fails, and only a new process helps.
    """
    import torch

    total = torch.arange(8, device=device).sum().item()
    if total != 28:
        raise RuntimeError(f"{device} computed {total} instead of 28")


def _cuda() -> Any:
    """Return ``torch.cuda`` if it is in use, else None."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return torch.cuda
