"""From a process's first instant to ready: reads the weights, imports the models' libraries, keeps time.

What is imported here takes milliseconds: the weights are on their way before torch is asked for.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import WeightsError
from ..runtime.process_memory import peak_memory
from ..runtime.weights_folder import find_weights
from ..weights.folders import all_part_files
from ..weights.read_ahead import ReadAhead
from .imports import OPTIONAL_PACKAGES, quick_imports, release_memory

if TYPE_CHECKING:
    from ..pipeline.pipeline import MultiTalkPipeline


@dataclass(frozen=True)
class Step:
    """A part of a start.

    Attributes:
        name: What was done.
        began: Seconds after the process began.
        seconds: How long it took. Steps of different threads overlap.
        bytes: What it loaded; None where that isn't its business.
    """

    name: str
    began: float
    seconds: float
    bytes: int | None = None

    @property
    def gigabytes_per_second(self) -> float | None:
        """Of what it loaded."""
        return self.bytes / 1e9 / self.seconds if self.bytes and self.seconds > 0 else None


class ColdStart:
    """Begins to read the weights, loads the models, and records what the time goes into.

    Args:
        weights: A baked weights folder; None searches.

    Attributes:
        folder: The weights folder; None where none is found.
        read_ahead: What reads it.
        ready_after: Seconds from the process's begin to :meth:`ready`; None before.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        self._origin = time.monotonic() - process_age()
        self._steps = [Step("interpreter", 0.0, self.elapsed)]
        self._lock = threading.Lock()
        self._memory_before: int | None = None
        self._disk_before = bytes_from_disk()
        self.ready_after: float | None = None
        self.folder: Path | None = None
        self.read_ahead: ReadAhead | None = None
        try:
            self.folder = find_weights(weights)
        except WeightsError:  # said when the models are asked for
            return
        self._reading_began = self.elapsed
        self.read_ahead = ReadAhead(all_part_files(self.folder))

    @property
    def elapsed(self) -> float:
        """Seconds since the process began."""
        return time.monotonic() - self._origin

    @contextmanager
    def step(self, name: str, size: int | None = None) -> Iterator[None]:
        """Record what is done inside, in any thread.

        Args:
            name: What it is.
            size: Bytes that it loads.
        """
        began = self.elapsed
        try:
            yield
        finally:
            with self._lock:
                self._steps.append(Step(name, began, self.elapsed - began, size))

    def load_pipeline(
        self, weights: str | Path | None = None, lean: bool = True, **options: Any
    ) -> MultiTalkPipeline:
        """Import what the models need, and load them.

        Args:
            weights: A baked weights folder; None searches. What is read already is used.
            lean: Leave out ``lean_imports.OPTIONAL_PACKAGES``. No other thread can import them meanwhile, so
                a page that is open already doesn't.
            options: More arguments of ``MultiTalkPipeline.from_pretrained``.

        Raises:
            MultiTalkError: As there.
        """
        with quick_imports(OPTIONAL_PACKAGES if lean else ()):
            with self.step("import torch"):
                import torch
            waking = threading.Thread(target=self._wake_gpu, args=(torch, options.get("device")), daemon=True)
            waking.start()
            with self.step("import models"):
                from ..pipeline.pipeline import MultiTalkPipeline
                from ..weights.libraries import import_models

                import_models()
            with self.step("release memory"):  # before collections are on again, or there'd be two
                release_memory()
        waking.join()
        self._memory_before = peak_memory()
        return MultiTalkPipeline.from_pretrained(weights, start=self, **options)

    def ready(self) -> None:
        """The first job can come. What is there now is left out of later garbage collections."""
        gc.freeze()
        if self.read_ahead is not None:
            self.read_ahead.stop()
        self.ready_after = self.elapsed

    @property
    def steps(self) -> list[Step]:
        """What was done, in the order in which it began; the reading of the files among it."""
        with self._lock:
            steps = list(self._steps)
        if self.read_ahead is not None and self.read_ahead.seconds is not None:
            total = self.read_ahead.total
            steps.append(Step("read files", self._reading_began, self.read_ahead.seconds, total))
        return sorted(steps, key=lambda step: step.began)

    def table(self) -> str:
        """The steps as a table, one line each, and a last line with the sum."""
        width = max(len(step.name) for step in self.steps)
        lines = [f"{'step':<{width}}{'began s':>9}{'seconds':>9}{'GB':>9}{'GB/s':>9}"]
        for step in self.steps:
            line = f"{step.name:<{width}}{step.began:>9.2f}{step.seconds:>9.2f}"
            if step.bytes is not None:
                line += f"{step.bytes / 1e9:>9.3f}{step.gigabytes_per_second or 0:>9.2f}"
            lines.append(line)
        return "\n".join([*lines, self._summary()])

    def report(self) -> dict[str, Any]:
        """The same for a log that machines read."""
        steps = []
        for step in self.steps:
            told: dict[str, Any] = {"name": step.name}
            told |= {"began": round(step.began, 3), "seconds": round(step.seconds, 3)}
            if step.bytes is not None:
                told |= {"bytes": step.bytes, "gb_per_second": round(step.gigabytes_per_second or 0, 2)}
            steps.append(told)
        return {
            "ready_after": round(self.ready_after or self.elapsed, 3),
            "steps": steps,
            "memory_before_weights": self._memory_before,
            "peak_memory": peak_memory(),
            "table": self.table().splitlines(),
        }

    def _summary(self) -> str:
        text = f"ready after {self.ready_after or self.elapsed:.2f} s"
        read = bytes_from_disk()
        if read is not None and self._disk_before is not None:
            text += f", {(read - self._disk_before) / 1e9:.3f} GB from the disk itself"
        peak = peak_memory()
        return text if peak is None else f"{text}, peak memory {peak / 1e9:.3f} GB"

    def _wake_gpu(self, torch: Any, device: Any) -> None:
        """Make the GPU's context and load its libraries while Python imports."""
        if str(device or "cuda").startswith("cuda") and torch.cuda.is_available():
            with self.step("GPU context"):
                matrix = torch.ones(16, 16, device=device or "cuda")
                (matrix @ matrix).sum().item()


def process_age() -> float:
    """Seconds since this process began, 0 where the system doesn't tell."""
    try:
        # the command's name, in parentheses, may hold spaces
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        began = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)
    except (AttributeError, IndexError, OSError, ValueError):
        return 0.0


def bytes_from_disk() -> int | None:
    """Bytes that this process made the disk read, rather than found in memory; None where nobody counts."""
    return _number(Path("/proc/self/io"), "read_bytes:")


def _number(file: Path, name: str) -> int | None:
    try:
        return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(name))
    except (OSError, StopIteration, ValueError):
        return None
