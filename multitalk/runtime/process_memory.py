"""A process's memory: how much it may have, its peak, what can be given back, and telling when it ran out."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

SMALLER = "choose a smaller size or fewer frames_per_clip"  # what helps whoever runs out of it
# torch's allocator for a CPU raises a plain RuntimeError
_PHRASES = ("out of memory", "not enough memory", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the GPU or of the machine."""
    # by name: torch isn't imported to ask
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _PHRASES)


def peak_memory() -> int | None:
    """Most bytes of memory that this process held, mapped files included; None where nobody counts."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024
    return None


def trim() -> None:
    """Give the system what is free: the C library keeps that for itself; glibc can be asked for it."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
