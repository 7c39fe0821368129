"""Every plan of the plan table at 480p, run on a stand-in for its GPU (see `stand_in.py`).

PyTorch's CPU build runs these tests, and so does CI. The networks have the published widths, but few layers;
their claim of memory is the plan's for these layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from multitalk.models.rotary import VideoRotaryEmbedding
from multitalk.runtime.gpus import GPUS
from multitalk.runtime.report import PRECISIONS
from multitalk.sampling import denoise
from multitalk.sampling.schedule import euler_step

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


def problems(gpu: StandInGpu, job: GpuJob, claims: dict[str, int]) -> set[str]:
    """Return what a GPU would suffer from."""
    step = gpu.regions["denoise"]
    streamed = bool(job.plan.streamed_blocks)
    found = {
        "a race": bool(gpu.races),
        "a host-device synchronization in a step": bool(step.waits),
        "a copy in a step": not all(
            copy.to_device and copy.pinned and not copy.blocking and copy.stream != MAIN
            for copy in step.copies
        ),
        "no streamed block": streamed and not step.copies,
        "more memory than claimed": any(gpu.regions[name].peak > claims[name] for name in STAGES)
        or max(region.peak for region in gpu.regions.values()) > max(claims.values()),
    }
    return {problem for problem, is_found in found.items() if is_found}


@pytest.mark.slow
@pytest.mark.parametrize("job", different_jobs())
def test_a_plan_holds(job: GpuJob, monkeypatch, tmp_path) -> None:
    """Two clips of two people and one of one person, with a LoRA and TeaCache."""
    gpu = StandInGpu(job.machine, monkeypatch)
    claims = run_jobs(gpu, job, tmp_path, monkeypatch)
    assert problems(gpu, job, claims) == set(), (gpu.regions["denoise"], gpu.races)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"), [("V100 16 GB", "bf16"), ("T4", "int8"), ("A100 40 GB", "int8"), ("H100", "fp8")]
)
def test_a_plan_holds_without_triton(name: str, precision: str, monkeypatch, tmp_path) -> None:
    """The operations of the kernels in PyTorch, and PyTorch's own 8-bit products."""
    job = GpuJob.on(next(sheet for sheet in GPUS if sheet.name == name), precision, kernels=False)
    gpu = StandInGpu(job.machine, monkeypatch)
    claims = run_jobs(gpu, job, tmp_path, monkeypatch)
    assert problems(gpu, job, claims) == set(), (gpu.regions["denoise"], gpu.races)


@pytest.mark.slow
def test_mistakes_in_a_step_are_found(monkeypatch, tmp_path) -> None:
    kept = []

    def careless_step(latents: torch.Tensor, *arguments: torch.Tensor) -> torch.Tensor:
        latents = euler_step(latents, *arguments)
        latents.mean().item()
        kept.append(torch.zeros(7 * 10**8, dtype=torch.uint8, device=DEVICE))
        return latents + torch.zeros(latents.shape).to(DEVICE, non_blocking=True)

    monkeypatch.setattr(denoise, "euler_step", careless_step)
    job = GpuJob.on(next(sheet for sheet in GPUS if sheet.name == "H100"), "int8")
    gpu = StandInGpu(job.machine, monkeypatch)
    claims = run_jobs(gpu, job, tmp_path, monkeypatch)
    assert problems(gpu, job, claims) == {
        "a host-device synchronization in a step", "a copy in a step", "more memory than claimed"
    }  # fmt: skip
    assert any("a value that the host reads" in wait for wait in gpu.regions["denoise"].waits)
    kept.clear()


def test_the_rotary_table_is_computed_on_the_gpu(monkeypatch) -> None:
    """It is made in the first step: a copy from the host would block."""
    gpu = StandInGpu(GpuJob.on(GPUS[0], "bf16").machine, monkeypatch)
    with gpu.running(), gpu.region("step") as step:
        VideoRotaryEmbedding(128, (1, 2, 2))(torch.empty(1, 36, 21, 60, 104, device=DEVICE))
    assert step.copies == []
