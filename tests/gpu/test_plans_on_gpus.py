"""Every plan of the plan table at 480p, run on a stand-in for its GPU (see `stand_in.py`).

PyTorch's CPU build runs these tests, and so does CI. The networks have the published widths, but few layers;
their claim of memory is the plan's for these layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multitalk.models.rotary import VideoRotaryEmbedding
from multitalk.runtime.gpus import GPUS
from multitalk.runtime.report import PRECISIONS

from .jobs import GpuJob, run_jobs
from .stand_in import DEVICE, StandInGpu
from .streams import MAIN

STAGES = {"text", "encode", "denoise", "decode"}


def different_jobs() -> Iterator[object]:
    """Yield a job per GPU and precision; GPUs that differ in memory only, and share a plan, share a test."""
    alike: dict[object, list[GpuJob]] = {}
    for sheet in GPUS:
        for precision in PRECISIONS:
            job = GpuJob.on(sheet, precision)
            plan = job.plan
            key = replace(plan, description="", expected_seconds=None, expected_bound=None)
            alike.setdefault((sheet.capability, precision, key), []).append(job)
    for jobs in alike.values():
        names = "+".join(job.machine.gpu.name.replace(" ", "-") for job in jobs)
        yield pytest.param(jobs[0], id=f"{names}-{jobs[0].precision}")


@pytest.mark.slow
@pytest.mark.parametrize("job", different_jobs())
def test_a_plan_holds(job: GpuJob, monkeypatch, tmp_path) -> None:
    """Two clips of two people and one of one person, with a LoRA and TeaCache."""
    check(job, monkeypatch, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gpu", "precision"), [("V100 16 GB", "bf16"), ("T4", "int8"), ("A100 40 GB", "int8"), ("H100", "fp8")]
)
def test_a_plan_holds_without_triton(gpu: str, precision: str, monkeypatch, tmp_path) -> None:
    """The operations of the kernels in PyTorch, and PyTorch's own 8-bit products."""
    sheet = next(sheet for sheet in GPUS if sheet.name == gpu)
    check(GpuJob.on(sheet, precision, kernels=False), monkeypatch, tmp_path)


def check(job: GpuJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpu = StandInGpu(job.machine, monkeypatch)
    claims = run_jobs(gpu, job, tmp_path, monkeypatch)
    assert gpu.races == []
    step = gpu.regions["denoise"]
    assert step.waits == []
    assert all(copy.to_device and copy.pinned and not copy.blocking for copy in step.copies)
    assert all(copy.stream != MAIN for copy in step.copies)
    assert bool(step.copies) == bool(job.plan.streamed_blocks)
    peaks = {name: gpu.regions[name].peak for name in STAGES}
    assert all(peaks[name] <= claims[name] for name in STAGES), (peaks, claims)
    assert max(region.peak for region in gpu.regions.values()) <= max(claims.values())
    print({name: (round(peaks[name] / 1e9, 2), round(claims[name] / 1e9, 2)) for name in STAGES})


def test_the_rotary_table_is_computed_on_the_gpu(monkeypatch) -> None:
    """It is made in the first step: a copy from the host would block."""
    gpu = StandInGpu(GpuJob.on(GPUS[0], "bf16").machine, monkeypatch)
    with gpu.running(), gpu.region("step") as step:
        VideoRotaryEmbedding(128, (1, 2, 2))(torch.empty(1, 36, 21, 60, 104, device=DEVICE))
    assert step.copies == []
