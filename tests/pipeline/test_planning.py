"""Every job of a loaded pipeline gets a plan for its workload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from multitalk import GenerationRequest
from multitalk.errors import InvalidInput
from multitalk.pipeline.planning import JobPlanner, loading_workload, workload_of
from multitalk.request.presets import PRESETS
from multitalk.runtime.choose import Weights
from multitalk.runtime.gpus import GPUS
from multitalk.runtime.memory import Workload
from multitalk.runtime.planner import Planner
from multitalk.runtime.report import usual_machine
from multitalk.runtime.settings import PlanSettings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LIGHTX2V = PRESETS["lightx2v"]


def request(**fields: Any) -> GenerationRequest:
    defaults = {"image": EXAMPLES / "one_person.png", "audio": EXAMPLES / "one_person.wav"}
    return GenerationRequest(**(defaults | fields))


def planner_for(name: str, settings: PlanSettings | None = None) -> JobPlanner:
    """Return a job planner for a machine with that GPU, without trying its kernels."""
    planner = Planner(PlanSettings(device="cpu"), Weights())
    planner.settings = settings or PlanSettings()
    planner.machine = usual_machine(next(gpu for gpu in GPUS if gpu.name == name))
    planner._working = ("flash", "native")
    return JobPlanner(planner, planner.plan())


def test_the_workload_of_a_request() -> None:
    workload = workload_of(request(size=(480, 832), steps=3), LIGHTX2V, 10.0)
    assert (workload.height, workload.width, workload.people, workload.frames) == (480, 832, 1, 81)
    assert (workload.branches, workload.calls) == (2, 6)
    two = request(
        image=EXAMPLES / "two_people.png",
        audio={"person1": EXAMPLES / "left.wav", "person2": EXAMPLES / "right.wav"},
        frames_per_clip=41,
        teacache=0.3,
        size="720p",
    )
    workload = workload_of(two, PRESETS["quality"], 10.0)
    assert (workload.people, workload.frames, workload.branches, workload.calls) == (2, 41, 3, 120)
    assert workload.keeps_residuals
    assert workload.height * workload.width == pytest.approx(720 * 1280, rel=0.05)
    spoken = request(audio=None, speech="(s1) Hello. (s2) Good morning.", image=EXAMPLES / "two_people.png")
    assert workload_of(spoken, LIGHTX2V, 10.0).people == 2


def test_as_few_blocks_are_streamed_as_the_job_allows() -> None:
    jobs = planner_for("RTX 4090")
    counts = [
        jobs.plan(request(size=size, frames_per_clip=frames), LIGHTX2V).streamed_blocks
        for size, frames in (((256, 256), 41), ((480, 832), 81), ((720, 1280), 81))
    ]
    assert counts == sorted(set(counts))
    assert counts[0] > 0, "37 GB of bf16 blocks do not fit"


def test_plans_for_longer_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an hour of audio, the encoder computes on the host: its first layer alone creates 70 GB."""
    jobs = planner_for("H100")
    assert "audio_encoder" in jobs.plan(request(size=(480, 832)), LIGHTX2V).resident
    for limit in ("3600", "inf"):
        monkeypatch.setenv("MAX_AUDIO_SECONDS", limit)
        assert "audio_encoder" not in jobs.plan(request(size=(480, 832)), LIGHTX2V).resident
        assert jobs._planner is not None
        assert "audio_encoder" not in jobs._planner.plan(loading_workload()).resident
    monkeypatch.setenv("MAX_AUDIO_SECONDS", "60")
    assert loading_workload() == Workload()


def test_speech_runs_on_the_host_if_memory_is_scarce() -> None:
    for name, device in (("H100", "cuda"), ("RTX 4090", "cpu")):
        plan = planner_for(name).plan(request(size=(480, 832)), LIGHTX2V)
        assert plan.speech_device.type == device


def test_a_job_that_does_not_fit_is_rejected_before_it_runs() -> None:
    jobs = planner_for("T4")
    with pytest.raises(InvalidInput, match="Choose a smaller size, fewer frames_per_clip") as error:
        jobs.plan(request(size=(720, 1280), frames_per_clip=201), LIGHTX2V)
    assert error.value.field == "size"
    assert jobs.plan(request(size=(480, 832)), LIGHTX2V).streamed_blocks  # the next job still works


def test_settings_are_kept() -> None:
    jobs = planner_for("H100", PlanSettings(streamed_blocks=12, vae_tiling=True))
    for size in ((256, 256), (720, 1280)):
        plan = jobs.plan(request(size=size), LIGHTX2V)
        assert (plan.streamed_blocks, plan.vae_tiling) == (12, True)
    fixed = planner_for("RTX 4090").plan(request(size=(480, 832)), LIGHTX2V)
    assert JobPlanner(None, fixed).plan(request(size=(720, 1280)), LIGHTX2V) is fixed
