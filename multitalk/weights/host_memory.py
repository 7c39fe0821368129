"""Host memory: what this machine or container may use, and what is free."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# a container's limit: cgroups of version 2, and of version 1
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


_NO_LIMIT = 2**60  # version 1 has no word for it


def container_limit() -> int | None:
    """Bytes of memory that this container may use; None where nothing limits it."""
    for path in _LIMITS:
        with suppress(OSError, ValueError):  # not there, or "max"
            limit = int(path.read_text())
            return limit if limit < _NO_LIMIT else None
    return None


def usable_memory() -> int:
    """Bytes of memory this process may use: the machine's, or its container's limit; 0 where unknown."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
    return min(total, container_limit() or total)


UNKNOWN_MEMORY = 4 * 10**9  # where the system doesn't tell


def free_memory() -> int:
    """Bytes that can be filled without pushing anything out, of this machine or this container."""
    limits = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        pass
    if (limit := container_limit()) is not None:
        limits.append(limit)
    return min(limits, default=UNKNOWN_MEMORY)
