"""Estimate how long a video takes: from the model and the machine's speed, corrected by past runs."""

from __future__ import annotations

import json
import logging
import math
import os
import statistics
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..pipeline.pipeline import MultiTalkPipeline
    from ..runtime.memory import Workload
    from ..runtime.sizes import ModelSizes

logger = logging.getLogger(__name__)

# A whole network reaches about this share of the speed of a plain matrix product.
EFFICIENCY = 0.5
# Version of the operation count; runs with another version are not compared.
COUNTING = 2
MAX_SAVED_RUNS = 60
MAX_USED_RUNS = 8
COMPARABLE = 8.0  # runs with this many times fewer operations are mostly overhead


@dataclass(frozen=True)
class Work:
    """Floating point operations of a video.

    Attributes:
        sampling: Of the transformer.
        coding: Of the autoencoder.
    """

    sampling: float
    coding: float


@dataclass(frozen=True)
class Estimate:
    """An estimated run time.

    Attributes:
        seconds: The time.
        runs: Number of past runs that it is based on.
    """

    seconds: float
    runs: int


def count_work(sizes: ModelSizes, workload: Workload, clips: int) -> Work:
    """Count the operations of a video with this number of clips."""
    from ..runtime.operations import autoencoder_operations, call_operations  # imports torch

    return Work(
        sampling=clips * workload.calls * call_operations(sizes, workload),
        coding=clips * autoencoder_operations(sizes, workload),
    )


class Estimator:
    """Estimates run times and learns from past runs.

    Args:
        file: File of the past runs.

    Attributes:
        sizes: Sizes of the loaded model; None before `measure`.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._machine, self._speed = "", 0.0
        self.sizes: ModelSizes | None = None
        self._runs: list[dict[str, Any]] = _read_runs(file)

    def measure(self, pipeline: MultiTalkPipeline) -> None:
        """Measure this machine's speed with the loaded weights."""
        from ..runtime.sizes import ModelSizes

        plan, sizes = pipeline.plan, ModelSizes.of(pipeline.folder)
        name = pipeline.folder.manifest.name
        self.sizes = sizes
        self._machine = f"{name} · {plan.description} · {sizes.transformer_parameters} · {COUNTING}"
        self._speed = _matrix_speed(plan.device, plan.dtype) * EFFICIENCY

    def estimate(self, work: Work) -> Estimate | None:
        """Estimate the run time; None before `measure`."""
        if not self._speed:
            return None
        runs = self._comparable_runs(work)
        sampling = _correction(runs, "sampling", self._speed) * work.sampling / self._speed
        coding = _correction(runs, "coding", self._speed) * work.coding / self._speed
        other = statistics.median([run["other_seconds"] for run in runs]) if runs else 0.0
        return Estimate(sampling + coding + other, len(runs))

    def learn(self, work: Work, timings: Mapping[str, float]) -> None:
        """Save the times of a finished run."""
        sampling = timings.get("denoise", 0.0)
        coding = timings.get("encode", 0.0) + timings.get("decode", 0.0)
        run = {
            "machine": self._machine,
            "sampling": work.sampling,
            "coding": work.coding,
            "sampling_seconds": sampling,
            "coding_seconds": coding,
            "other_seconds": max(0.0, timings.get("total", 0.0) - sampling - coding),
        }
        with self._lock:
            self._runs = [*self._runs, run][-MAX_SAVED_RUNS:]
            try:
                temporary = self._file.with_suffix(".part")
                temporary.write_text(json.dumps(self._runs))
                os.replace(temporary, self._file)
            except OSError as error:  # must not fail the finished video
                logger.warning("cannot save the run time: %s", error)

    def _comparable_runs(self, work: Work) -> list[dict[str, Any]]:
        """Return the latest runs on this machine that are not much smaller."""
        least = work.sampling / COMPARABLE
        runs = [run for run in self._runs if run["machine"] == self._machine and run["sampling"] >= least]
        return runs[-MAX_USED_RUNS:]


def describe_seconds(seconds: float) -> str:
    """Return a rounded duration, such as "45 s", "2 min" or "1.5 h"."""
    if seconds < 55:
        return f"{max(5, 5 * math.ceil(seconds / 5))} s"
    if seconds < 55 * 60:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h"


def _correction(runs: list[dict[str, Any]], part: str, speed: float) -> float:
    """Return the median ratio of measured to computed time."""
    ratios = [run[f"{part}_seconds"] * speed / run[part] for run in runs if run[part] > 0]
    return statistics.median(ratios) if ratios else 1.0


def _matrix_speed(device: Any, dtype: Any) -> float:
    """Measure the floating point operations per second of a large matrix product."""
    import torch

    side = 512 if device.type == "cpu" else 4096
    first = torch.rand(side, side, device=device).to(dtype)
    best = math.inf
    for _ in range(4):
        started = time.monotonic()
        total = (first @ first).float().sum().item()  # synchronizes with the device
        best = min(best, time.monotonic() - started)
        assert total > 0
    return 2 * side**3 / max(best, 1e-9)


def _read_runs(file: Path) -> list[dict[str, Any]]:
    numbers = ("sampling", "coding", "sampling_seconds", "coding_seconds", "other_seconds")
    try:
        runs = json.loads(file.read_text())
        return [
            run
            for run in runs
            if isinstance(run["machine"], str) and all(isinstance(run[n], (int, float)) for n in numbers)
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
