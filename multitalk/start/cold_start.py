"""Startup of a process: read the weights while Python imports, load the models, and time each stage.

The imports of this module take milliseconds, so that reading starts before torch is imported.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import WeightsError
from ..patches.imports import narrow_diffusers, without
from ..runtime.environment import find_weights
from ..runtime.process_memory import peak_memory, trim
from ..weights.folders import all_part_files, audio_layer_files
from ..weights.read_ahead import ReadAhead

if TYPE_CHECKING:
    from ..pipeline.pipeline import MultiTalkPipeline


@dataclass(frozen=True)
class Stage:
    """A stage of the startup. Stages of different threads overlap.

    Attributes:
        name: Name of the stage.
        start: Seconds from the start of the process to the start of the stage.
        seconds: Duration.
        bytes: Bytes that it loaded; None for a stage that loads no weights.
    """

    name: str
    start: float
    seconds: float
    bytes: int | None = None

    @property
    def gigabytes_per_second(self) -> float | None:
        """Loading speed in GB/s (10^9 bytes)."""
        return self.bytes / 1e9 / self.seconds if self.bytes and self.seconds > 0 else None


class ColdStart:
    """Starts to read the weights, loads the models, and times the stages of the startup.

    Args:
        weights: A baked weights folder; None searches.

    Attributes:
        folder: The weights folder; None if none is found.
        read_ahead: The threads that read it.
        ready_after: Seconds from the start of the process to :meth:`ready`; None before.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        self._origin = time.monotonic() - process_age()
        self._stages = [Stage("interpreter", 0.0, self.elapsed)]
        self._lock = threading.Lock()
        self._memory_before: int | None = None
        self._disk_before = bytes_from_disk()
        self.ready_after: float | None = None
        self.folder: Path | None = None
        self.read_ahead: ReadAhead | None = None
        self._audio_layers: ReadAhead | None = None
        try:
            self.folder = find_weights(weights)
        except WeightsError:  # load_pipeline raises it again
            return
        self._reading_start = self.elapsed
        self.read_ahead = ReadAhead(all_part_files(self.folder))

    @property
    def elapsed(self) -> float:
        """Seconds since the start of the process."""
        return time.monotonic() - self._origin

    @contextmanager
    def stage(self, name: str, size: int | None = None) -> Iterator[None]:
        """Time a stage, in any thread.

        Args:
            name: Name of the stage.
            size: Bytes that it loads.
        """
        start = self.elapsed
        try:
            yield
        finally:
            with self._lock:
                self._stages.append(Stage(name, start, self.elapsed - start, size))

    def load_pipeline(
        self, weights: str | Path | None = None, lean: bool = True, **options: Any
    ) -> MultiTalkPipeline:
        """Import the models' libraries and load the pipeline; of several processes, process 0 calls it.

        Args:
            weights: A baked weights folder; None searches.
            lean: Skip the imports of :data:`OPTIONAL_PACKAGES`. Other threads cannot import them meanwhile,
                so the web page, which is already open, sets it to False.
            options: More arguments of :func:`multitalk.parallel.load_pipeline`.

        Raises:
            MultiTalkError: See :func:`multitalk.parallel.load_pipeline`.
        """
        with quick_imports(OPTIONAL_PACKAGES if lean else ()):
            with self.stage("import torch"):
                import torch
            initializing = threading.Thread(
                target=self._initialize_gpu, args=(torch, options.get("device")), daemon=True
            )
            initializing.start()
            with self.stage("import models"), narrow_diffusers():
                from ..parallel.loading import load_pipeline
                from ..pipeline.pipeline import MultiTalkPipeline
                from ..weights.libraries import import_models

                import_models()
            # before automatic collections are on again, which would search all that was imported
            gc.freeze()
            trim()
        initializing.join()
        self._memory_before = peak_memory()
        read_ahead = self.read_ahead if self.folder == find_weights(weights) else None
        pipeline = load_pipeline(weights, read_ahead=read_ahead, record=self.stage, **options)
        assert isinstance(pipeline, MultiTalkPipeline)
        return pipeline

    def ready(self) -> None:
        """End the startup, and exclude all objects so far from later garbage collections.

        The audio layers of the other models are prefetched from now on, so that the first switch is fast.
        """
        gc.freeze()
        if self.read_ahead is not None:
            self.read_ahead.stop()
        if self.folder is not None:
            self._audio_layers = ReadAhead(audio_layer_files(self.folder))
        self.ready_after = self.elapsed

    @property
    def stages(self) -> list[Stage]:
        """All stages in order of their start, including the reading of the files."""
        with self._lock:
            stages = list(self._stages)
        if self.read_ahead is not None and self.read_ahead.seconds is not None:
            total = self.read_ahead.total
            stages.append(Stage("read files", self._reading_start, self.read_ahead.seconds, total))
        return sorted(stages, key=lambda stage: stage.start)

    def table(self) -> str:
        """Format the stages as a table, with a summary in the last line."""
        width = max(len(stage.name) for stage in self.stages)
        lines = [f"{'stage':<{width}}{'start s':>9}{'seconds':>9}{'GB':>9}{'GB/s':>9}"]
        for stage in self.stages:
            line = f"{stage.name:<{width}}{stage.start:>9.2f}{stage.seconds:>9.2f}"
            if stage.bytes is not None:
                line += f"{stage.bytes / 1e9:>9.3f}{stage.gigabytes_per_second or 0:>9.2f}"
            lines.append(line)
        return "\n".join([*lines, self._summary()])

    def report(self) -> dict[str, Any]:
        """Return stages, times and memory as fields of a log event."""
        stages = []
        for stage in self.stages:
            fields: dict[str, Any] = {"name": stage.name}
            fields |= {"start": round(stage.start, 3), "seconds": round(stage.seconds, 3)}
            if stage.bytes is not None:
                fields |= {"bytes": stage.bytes, "gb_per_second": round(stage.gigabytes_per_second or 0, 2)}
            stages.append(fields)
        return {
            "ready_after": round(self.ready_after or self.elapsed, 3),
            "stages": stages,
            "memory_before_weights": self._memory_before,
            "peak_memory": peak_memory(),
            "table": self.table().splitlines(),
        }

    def _summary(self) -> str:
        text = f"ready after {self.ready_after or self.elapsed:.2f} s"
        read = bytes_from_disk()
        if read is not None and self._disk_before is not None:
            text += f", {(read - self._disk_before) / 1e9:.3f} GB read from disk"
        peak = peak_memory()
        return text if peak is None else f"{text}, peak memory {peak / 1e9:.3f} GB"

    def _initialize_gpu(self, torch: Any, device: Any) -> None:
        """Create the GPU context and load the CUDA libraries while Python imports."""
        if str(device or "cuda").startswith("cuda") and torch.cuda.is_available():
            with self.stage("GPU context"):
                matrix = torch.ones(16, 16, device=device or "cuda")
                (matrix @ matrix).sum().item()


def process_age() -> float:
    """Return the seconds since the start of this process; 0 if the system does not provide it."""
    try:
        # the name of the command, in parentheses, may contain spaces
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - start)
    except (AttributeError, IndexError, OSError, ValueError):
        return 0.0


def bytes_from_disk() -> int | None:
    """Return the bytes that this process read from disk, not from the page cache; None if not available."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))
    except (OSError, StopIteration, ValueError):
        return None


# Packages that other libraries import if they are installed, although no start needs them. pyloudnorm
# imports scipy with the first job; diffusers' from_pretrained uses accelerate, and httpx's command line rich.
OPTIONAL_PACKAGES = ("scipy", "sklearn", "pandas", "accelerate", "rich")


@contextmanager
def quick_imports(optional: Sequence[str] = ()) -> Iterator[None]:
    """Import within the context without garbage collections, and without some packages.

    Args:
        optional: Names of packages; those that are already imported stay.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with without(optional):
            yield
    finally:
        if collecting:
            gc.enable()
