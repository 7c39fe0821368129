"""Processes share the weights only if a part of them and two whole blocks fit."""

from __future__ import annotations

import pytest

from multitalk.runtime.choose import Weights
from multitalk.runtime.fit import budget_of
from multitalk.runtime.gpus import GPUS
from multitalk.runtime.memory import Workload
from multitalk.runtime.planner import Planner
from multitalk.runtime.report import usual_machine
from multitalk.runtime.settings import PlanSettings
from multitalk.runtime.sizes import PUBLISHED


def planner_for(name: str, precision: str, **settings: object) -> Planner:
    """Return a planner for a machine with such GPUs, without trying its kernels."""
    planner = Planner(PlanSettings(device="cpu"), Weights(PUBLISHED, precision, precision))
    planner.settings = PlanSettings(**settings)  # type: ignore[arg-type]
    planner.machine = usual_machine(next(gpu for gpu in GPUS if gpu.name == name))
    planner._working = ("flash", "native")
    return planner


@pytest.mark.parametrize(
    ("name", "precision", "processes", "fits"),
    [
        ("RTX 4090", "bf16", 2, False),
        ("RTX 4090", "bf16", 4, True),
        ("RTX 4090", "int8", 2, True),
        ("T4", "bf16", 4, False),
        ("T4", "int8", 2, False),
        ("T4", "int8", 8, True),
        ("A100 40 GB", "bf16", 2, True),
    ],
)
def test_gpus_that_can_share_the_weights(name: str, precision: str, processes: int, fits: bool) -> None:
    alone = planner_for(name, precision)
    assert alone.plan().streamed_blocks, "a single process would stream"
    shared = alone.sharing(processes)
    assert shared.fits() == fits
    assert alone.fits()
    block = PUBLISHED.block_bytes(precision)
    least = PUBLISHED.layers * block / processes + 2 * block
    if fits:
        plan = shared.plan()
        assert plan.streamed_blocks == 0
        assert least < plan.expected_peak_bytes <= budget_of(shared.machine, shared.settings)
        assert any(f"shared by {processes} processes" in note for note in plan.notes)


def test_later_jobs_are_planned_for_shared_weights() -> None:
    shared = planner_for("RTX 4090", "bf16").sharing(4)
    small, large = shared.plan(Workload()), shared.plan(Workload(height=720, width=1280))
    assert small.streamed_blocks == large.streamed_blocks == 0
    assert not small.vae_tiling
    assert large.vae_tiling, "the frames of a 720p clip do not fit together with 12 blocks"


def test_settings_do_not_make_a_job_fit() -> None:
    assert not planner_for("RTX 4090", "bf16", resident=("transformer",)).sharing(2).fits()
