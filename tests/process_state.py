"""What a process holds: memory, open files, threads, children."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median

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


def trend(values: Sequence[float], within: int | None = None) -> float:
    """Return the growth per round of one value per round: the median of all slopes (Theil-Sen).

    Args:
        values: One per round.
        within: Only slopes between rounds at most so far apart: of eight values or more, one step is in less
            than half of those within three rounds, so it is no growth. Without it, one in the middle is in
            more than half of all slopes.
    """
    pairs = combinations(enumerate(values), 2)
    return median((b - a) / (j - i) for (i, a), (j, b) in pairs if within is None or j - i <= within)


@contextmanager
def peak_memory_of(pid: int) -> Iterator[Callable[[], int]]:
    """Yield a function that returns the peak of the memory of a process and its children so far."""
    peak, over = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.02):
            processes = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
            total = 0
            for each in processes:
                with contextlib.suppress(psutil.NoSuchProcess, OSError, KeyError):  # it has ended
                    total += state_of(each).memory
            peak = max(peak, total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: peak
    finally:
        over.set()
        thread.join()
