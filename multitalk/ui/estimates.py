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

from ..pipeline.forecast import DOUBT, StageCosts

if TYPE_CHECKING:
    from ..pipeline.pipeline import MultiTalkPipeline
    from ..pipeline.work import JobWork
    from ..request.generation_request import GenerationRequest

logger = logging.getLogger(__name__)

# A whole network reaches about this share of the speed of a plain matrix product.
EFFICIENCY = 0.5
OTHER_SECONDS = 2.0  # of everything but the clips, before it was measured
# Seconds of measurements that correct an estimate by half which is based on no past run.
UNMEASURED = 0.3
# Version of the operation count; runs with another version are not compared.
COUNTING = 4
LETTERS_PER_SECOND = 14  # approximate speaking rate
STAGES = ("encode", "denoise", "decode")
MEASURED_SECONDS = 0.25
MAX_SAVED_RUNS = 60
MAX_USED_RUNS = 8
COMPARABLE = 8.0  # runs with this many times fewer operations are mostly overhead


@dataclass(frozen=True)
class Estimate:
    """An estimated run time.

    Attributes:
        seconds: The time.
        runs: Number of past runs that it is based on.
        costs: Expected seconds of the stages, with which the progress bar starts.
    """

    seconds: float
    runs: int
    costs: StageCosts


class Estimator:
    """Estimates run times and learns from past runs.

    Args:
        file: File of the past runs.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._machine, self._speed = "", 0.0
        self._runs: list[dict[str, Any]] = _read_runs(file)

    def measure(self, pipeline: MultiTalkPipeline) -> None:
        """Measure this machine's speed with the loaded weights."""
        plan = pipeline.plan
        name = pipeline.folder.manifest.name
        self._machine = f"{name} · {plan.description} · {pipeline.sizes.transformer_parameters} · {COUNTING}"
        self._speed = _matrix_speed(plan.device, plan.dtype) * EFFICIENCY

    def estimate(self, work: JobWork) -> Estimate | None:
        """Estimate the run time; None before `measure`."""
        if not self._speed:
            return None
        runs = self._comparable_runs(work)
        units = {
            stage: operations * _correction(runs, stage, self._speed) / self._speed
            for stage, operations in work.units.items()
        }
        clips = sum(seconds * work.amounts[stage] for stage, seconds in units.items())
        others = [run["other_seconds"] for run in runs]
        other = statistics.median(others) if others else OTHER_SECONDS
        doubt = DOUBT if runs else UNMEASURED
        return Estimate(clips + other, len(runs), StageCosts(units, clips, other, doubt))

    def learn(self, work: JobWork, timings: Mapping[str, float]) -> None:
        """Save the times of a finished run."""
        run: dict[str, Any] = {"machine": self._machine}
        for stage in STAGES:
            run |= {stage: work.total(stage), f"{stage}_seconds": timings.get(stage, 0.0)}
        measured = sum(run[f"{stage}_seconds"] for stage in STAGES)
        run["other_seconds"] = max(0.0, timings.get("total", 0.0) - measured)
        with self._lock:
            self._runs = [*self._runs, run][-MAX_SAVED_RUNS:]
            try:
                temporary = self._file.with_suffix(".part")
                temporary.write_text(json.dumps(self._runs))
                os.replace(temporary, self._file)
            except OSError as error:  # must not fail the finished video
                logger.warning("cannot save the run time: %s", error)

    def _comparable_runs(self, work: JobWork) -> list[dict[str, Any]]:
        """Return the latest runs on this machine that are not much smaller."""
        least = work.total("denoise") / COMPARABLE
        runs = [run for run in self._runs if run["machine"] == self._machine and run["denoise"] >= least]
        return runs[-MAX_USED_RUNS:]


def seconds_of(request: GenerationRequest) -> float:
    """Return the length of a request's audio, estimated for text that was not spoken yet."""
    sounds = [sound.seconds for sound in (request.audio or {}).values()]
    if request.speech is not None:
        sounds.append(spoken_seconds(request.speech.text, request.speech.speed))
    return sum(sounds) if request.turns == "in_order" else max(sounds, default=0.0)


def spoken_seconds(text: str | None, speed: float) -> float:
    """Estimate how long a text takes to speak."""
    return len(text or "") / LETTERS_PER_SECOND / speed


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
    # on a CPU, the time that other programs take from this thread does not count
    clock = time.thread_time if device.type == "cpu" else time.monotonic
    best, begun = math.inf, time.monotonic()
    while time.monotonic() - begun < MEASURED_SECONDS:
        started = clock()
        total = (first @ first).float().sum().item()  # synchronizes with the device
        best = min(best, clock() - started)
        assert total > 0
    return 2 * side**3 / max(best, 1e-9)


def _read_runs(file: Path) -> list[dict[str, Any]]:
    numbers = [*STAGES, *(f"{stage}_seconds" for stage in STAGES), "other_seconds"]
    try:
        runs = json.loads(file.read_text())
        return [
            run
            for run in runs
            if isinstance(run["machine"], str) and all(isinstance(run[n], (int, float)) for n in numbers)
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
