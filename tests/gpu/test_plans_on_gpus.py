"""Every plan of the plan table at 480p, run on a stand-in for its GPU (see `stand_in.py`).

PyTorch's CPU build runs these tests, and so does CI. The networks have the published widths, but few layers;
their claim of memory is the plan's for these layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from multitalk.runtime.gpus import GPUS
from multitalk.runtime.report import PRECISIONS

from .jobs import GpuJob, run_jobs
from .stand_in import StandInGpu
from .streams import MAIN

STAGES = {"text", "encode", "denoise", "decode"}


def different_jobs() -> Iterator[object]:
    """Yield a job per GPU and precision; GPUs that differ in memory only, and share a plan, share a test."""
    alike: dict[object, list[GpuJob]] = {}
    for sheet in GPUS:
        for precision in PRECISIONS:
            job = GpuJob.on(sheet, precision)
            plan = job.plan()
            key = replace(plan, description="", expected_seconds=None, expected_bound=None)
            alike.setdefault((sheet.capability, precision, key), []).append(job)
    for jobs in alike.values():
        names = "+".join(job.machine.gpu.name.replace(" ", "-") for job in jobs)
        yield pytest.param(jobs[0], id=f"{names}-{jobs[0].precision}")


@pytest.mark.slow
@pytest.mark.parametrize("job", different_jobs())
def test_a_plan_holds(job: GpuJob, monkeypatch, tmp_path) -> None:
    """Two clips of two people and one of one person, with a LoRA and TeaCache."""
    gpu = StandInGpu(job.machine, monkeypatch)
    claim = run_jobs(gpu, job, tmp_path, monkeypatch)
    assert gpu.races == []
    step = gpu.regions["denoise"]
    assert step.waits == []
    assert all(copy.to_device and copy.pinned and not copy.blocking for copy in step.copies)
    assert all(copy.stream != MAIN for copy in step.copies)
    assert bool(step.copies) == bool(job.plan().streamed_blocks)
    peaks = {name: region.peak for name, region in gpu.regions.items()}
    assert set(peaks) >= STAGES
    assert max(peaks.values()) <= claim, peaks
    print({name: peak / 1e9 for name, peak in peaks.items()}, claim / 1e9, gpu.attention.used)
