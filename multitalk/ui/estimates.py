"""How long a video will take here: counted from the model and this machine, corrected by past runs."""

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

# Of what a plain matrix product reaches, a whole network gets about this much.
EFFICIENCY = 0.5
# How work is counted; runs that were counted in another way aren't compared.
COUNTING = 2
KEPT_RUNS = 60
USED_RUNS = 8
COMPARABLE = 8.0  # times


@dataclass(frozen=True)
class Work:
    """What a video takes, in floating point operations.

    Attributes:
        sampling: Of the transformer.
        coding: Of the autoencoder.
    """

    sampling: float
    coding: float


def count_work(sizes: ModelSizes, job: Workload, clips: int) -> Work:
    """The work of a video of so many clips."""
    from ..runtime.operations import autoencoder_operations, call_operations  # brings torch

    return Work(
        sampling=clips * job.calls * call_operations(sizes, job),
        coding=clips * autoencoder_operations(sizes, job),
    )


class Estimator:
    """Tells how long videos take, and learns from those that were made.

    Args:
        file: Where past runs are remembered.

    Attributes:
        sizes: Of the loaded model; None before `measure`.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._machine, self._speed = "", 0.0
        self.sizes: ModelSizes | None = None
        self._runs: list[dict[str, Any]] = _read_runs(file)

    def measure(self, pipeline: MultiTalkPipeline) -> None:
        """Get to know this machine and these weights."""
        from ..runtime.sizes import ModelSizes

        plan, sizes = pipeline.plan, ModelSizes.of(pipeline.folder)
        name = pipeline.folder.manifest.name
        self.sizes = sizes
        self._machine = f"{name} · {plan.description} · {sizes.transformer_parameters} · {COUNTING}"
        self._speed = _matrix_speed(plan.device, plan.dtype) * EFFICIENCY

    def seconds(self, work: Work) -> tuple[float, int] | None:
        """Seconds for some work, and how many past runs they are told from; None before `measure`."""
        if not self._speed:
            return None
        runs = self._like(work)
        sampling = _correction(runs, "sampling", self._speed) * work.sampling / self._speed
        coding = _correction(runs, "coding", self._speed) * work.coding / self._speed
        other = statistics.median([run["other_seconds"] for run in runs]) if runs else 0.0
        return sampling + coding + other, len(runs)

    def learn(self, work: Work, timings: Mapping[str, float]) -> None:
        """Remember a finished run."""
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
            self._runs = [*self._runs, run][-KEPT_RUNS:]
            try:
                temporary = self._file.with_suffix(".part")
                temporary.write_text(json.dumps(self._runs))
                os.replace(temporary, self._file)
            except OSError as error:  # a video isn't lost because its time is
                logger.warning("the time of a run can't be remembered: %s", error)

    def _like(self, work: Work) -> list[dict[str, Any]]:
        """The latest runs here that tell something: a much smaller one is all overhead."""
        least = work.sampling / COMPARABLE
        here = [run for run in self._runs if run["machine"] == self._machine and run["sampling"] >= least]
        return here[-USED_RUNS:]


def describe_seconds(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 55:
        return f"{max(5, 5 * math.ceil(seconds / 5))} s"
    if seconds < 55 * 60:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h"


def _correction(runs: list[dict[str, Any]], part: str, speed: float) -> float:
    """How much longer than counted a part took."""
    ratios = [run[f"{part}_seconds"] * speed / run[part] for run in runs if run[part] > 0]
    return statistics.median(ratios) if ratios else 1.0


def _matrix_speed(device: Any, dtype: Any) -> float:
    """Floating point operations per second of a large matrix product."""
    import torch

    side = 512 if device.type == "cpu" else 4096
    first = torch.rand(side, side, device=device).to(dtype)
    best = math.inf
    for _ in range(4):
        started = time.monotonic()
        total = (first @ first).float().sum().item()  # waits for the device
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
