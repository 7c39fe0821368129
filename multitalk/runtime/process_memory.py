"""A process's memory: out-of-memory errors, the peak, and returning free memory to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

SMALLER = "choose a smaller size or fewer frames_per_clip"  # advice for out-of-memory errors
# Of the heaps: larger blocks get a mapping of their own, and more free memory at a heap's end is returned.
LARGE_BLOCK = 8 * 2**20
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt
# torch's CPU allocator raises a plain RuntimeError
_PHRASES = ("out of memory", "not enough memory", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error reports that GPU or host memory ran out."""
    # by name, so that torch is not imported
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _PHRASES)


def peak_memory() -> int | None:
    """Return the process's peak resident memory in bytes, mapped files included; None if unknown."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024
    return None


def trim() -> None:
    """Return free heap memory to the system; does nothing without glibc."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def return_large_blocks() -> None:
    """Make this process return large blocks to the system as soon as they are freed; only with glibc.

    By default, glibc raises its threshold for separate mappings to the size of the blocks that are freed, up
    to 32 MiB. After the first image, whose blocks have 16 MiB, later ones are on the heap of the thread that
    decodes them. Every thread has a heap of its own and keeps tens of megabytes of it, which `trim` does not
    return.
    """
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            library.mallopt(option, LARGE_BLOCK)
        # the library that signs videos starts threads, each of which would keep a heap
        library.mallopt(_ARENA_MAX, 2)
