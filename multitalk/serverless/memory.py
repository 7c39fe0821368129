"""Memory between jobs: what a job used, giving it back, and whether the device still computes."""

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
    """Begin to measure a job's peak; where the system can't, the process's own peak stands."""
    with contextlib.suppress(OSError):
        _RESET_PEAK.write_text("5")
    cuda = _cuda()
    if cuda is not None:
        with contextlib.suppress(RuntimeError):  # a broken context is noticed elsewhere
            cuda.reset_peak_memory_stats()


def peaks() -> dict[str, Any]:
    """Peak memory in bytes since ``reset_peaks``: of the process, and of the GPU where there is one."""
    found: dict[str, Any] = {}
    if (peak := peak_memory()) is not None:
        found["peak_memory"] = peak
    cuda = _cuda()
    if cuda is not None:
        with contextlib.suppress(RuntimeError):
            found["peak_gpu_memory"] = int(cuda.max_memory_allocated())
    return found


def release() -> None:
    """Give back what a finished job leaves: cycles, the GPU's cached blocks, the C library's free pages."""
    gc.collect()
    cuda = _cuda()
    if cuda is not None:
        with contextlib.suppress(RuntimeError):
            cuda.empty_cache()
    trim()


def check_device(device: torch.device) -> None:
    """Compute something small where the model runs.

    Raises:
        RuntimeError: It doesn't come out. After some errors (an illegal address, a failed assertion) every
            later CUDA call of the process fails: only a new process helps.
    """
    import torch

    total = torch.arange(8, device=device).sum().item()
    if total != 28:
        raise RuntimeError(f"{device} computes {total} where 28 is right")


def _cuda() -> Any:
    """``torch.cuda`` where it is in use, else None."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return torch.cuda
