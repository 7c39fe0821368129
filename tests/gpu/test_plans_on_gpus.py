"""Every plan of the plan table, run on a stand-in for its GPU (see `stand_in.py`)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from multitalk.runtime.gpus import GPUS, GpuSpecification
from multitalk.runtime.memory import RESERVE, RESERVE_SHARE
from multitalk.runtime.report import PRECISIONS, usual_machine

from .jobs import job_for, run_job
from .stand_in import DEVICE, StandInGpu
from .streams import MAIN

STAGES = ("text", "encode", "denoise", "decode")


@pytest.mark.slow
@pytest.mark.parametrize("people", [1, 2])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("sheet", GPUS, ids=lambda sheet: sheet.name.replace(" ", "-"))
def test_a_plan(sheet: GpuSpecification, precision: str, people: int, monkeypatch, tmp_path) -> None:
    """Two clips of 480p with a LoRA and TeaCache, at full width."""
    machine = replace(usual_machine(sheet), device=str(DEVICE))
    job = job_for(machine, precision, people)
    plan = job.plan(machine)
    gpu = StandInGpu(machine, monkeypatch)
    claim = run_job(gpu, job, machine, tmp_path, monkeypatch)
    assert gpu.races == []
    step = gpu.regions["denoise"]
    assert step.waits == []
    assert all(copy.to_device and copy.pinned for copy in step.copies)
    assert all(copy.stream != MAIN and not copy.blocking for copy in step.copies)
    assert bool(step.copies) == bool(plan.streamed_blocks)
    peaks = {name: region.peak for name, region in gpu.regions.items()}
    assert set(STAGES) <= set(peaks)
    assert max(peaks.values()) <= claim, peaks
    reserved = max(region.peak_reserved for region in gpu.regions.values())
    assert reserved <= claim + RESERVE + RESERVE_SHARE * sheet.memory
