"""What a process holds: memory, open files, threads, children."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class ProcessState:
    """A process's memory in bytes without that of mapped files, and counts of what else it holds."""

    memory: int
    files: int
    threads: int
    children: int


def state_of(pid: int) -> ProcessState:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    memory = sum(int(status[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))
    process = psutil.Process(pid)
    return ProcessState(memory, process.num_fds(), process.num_threads(), len(process.children()))
