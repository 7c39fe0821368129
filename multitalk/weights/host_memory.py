"""Host memory: what this machine or container may use, and what is free."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# a container's limit: cgroups of version 2, and of version 1
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_NO_LIMIT = 2**60  # version 1 reports a number near 2**63

UNKNOWN_MEMORY = 4 * 10**9  # assumed where the system does not report it


def container_limit() -> int | None:
    """Return the container's memory limit in bytes, or None without a limit."""
    for path in _LIMITS:
        with suppress(OSError, ValueError):  # the file is missing, or contains "max"
            limit = int(path.read_text())
            return limit if limit < _NO_LIMIT else None
    return None


def usable_memory() -> int:
    """Return the bytes of memory that this process may use, or 0 if unknown."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
    return min(total, container_limit() or total)


def free_memory() -> int:
    """Return the bytes of memory that can be allocated without swapping."""
    limits = []
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    if (limit := container_limit()) is not None:
        limits.append(limit)
    return min(limits, default=UNKNOWN_MEMORY)
