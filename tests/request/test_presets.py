"""Presets: where their steps are, and which one is the default."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from multitalk.errors import WeightsError
from multitalk.pipeline.planning import SLOW_CLIP_SECONDS, default_preset, loading_workload
from multitalk.request.presets import PRESETS, settings_for
from multitalk.runtime.choose import Weights, plan_for
from multitalk.runtime.gpus import GPUS
from multitalk.runtime.plan import HardwarePlan
from multitalk.runtime.report import usual_machine
from multitalk.sampling.guidance import needed_branches
from multitalk.sampling.schedule import make_timesteps


def timesteps_of(preset: str, **changes: Any) -> list[float]:
    settings = settings_for(PRESETS[preset], "480p", **changes)
    return [
        round(float(t), 1) for t in make_timesteps(settings.steps, settings.shift, settings.timestep_spacing)
    ]


def test_distilled_presets_sample_where_the_lora_was_trained() -> None:
    assert timesteps_of("fast") == [1000, 937.5, 833.3, 625, 0]
    assert timesteps_of("fast", shift=1.0) == [1000, 750, 500, 250, 0]
    assert timesteps_of("balanced", shift=1.0) == [1000, 833.3, 666.7, 500, 333.3, 166.7, 0]
    assert timesteps_of("fast", steps=2) == [1000, 833.3, 0]
    for published in ("quality", "fusionx", "lightx2v", "demo"):
        assert timesteps_of(published, shift=1.0)[-2:] == [1, 0]


def test_fast_makes_one_model_call_a_step() -> None:
    calls = {
        name: preset.steps * len(needed_branches(preset.text_guidance, preset.audio_guidance))
        for name, preset in PRESETS.items()
    }
    assert calls == {"quality": 120, "balanced": 12, "fast": 4, "fusionx": 16, "lightx2v": 8, "demo": 6}


def folder_with(tmp_path: Path, *files: str, default: str = "quality", merged: str | None = None) -> Any:
    (tmp_path / "loras").mkdir(exist_ok=True)
    manifest = SimpleNamespace(
        default_preset=default,
        loras=() if merged is None else (SimpleNamespace(name=merged),),
        files={f"loras/{name}": None for name in files},
    )
    return SimpleNamespace(path=tmp_path, manifest=manifest, lora_file=lambda name: tmp_path / "loras" / name)


@pytest.fixture
def plan() -> HardwarePlan:
    """The plan of an H100."""
    gpu = next(gpu for gpu in GPUS if gpu.name == "H100")
    return plan_for(usual_machine(gpu), loading_workload(), Weights())


def test_fast_is_the_default_on_a_slow_device(tmp_path: Path, plan: HardwarePlan) -> None:
    lora = PRESETS["fast"].lora
    assert lora is not None
    folder = folder_with(tmp_path, lora)
    call_seconds = SLOW_CLIP_SECONDS / 120
    quick = replace(plan, expected_seconds=call_seconds * loading_workload().calls * 0.99)
    slow = replace(plan, expected_seconds=call_seconds * loading_workload().calls * 1.01)
    unknown = replace(plan, expected_seconds=None)
    assert [default_preset(folder, each) for each in (quick, slow, unknown)] == ["quality", "fast", "fast"]


def test_other_defaults_of_the_weights_are_kept(tmp_path: Path, plan: HardwarePlan) -> None:
    lora, fusionx = PRESETS["fast"].lora, PRESETS["fusionx"].lora
    assert lora is not None
    slow = replace(plan, expected_seconds=None)

    def lose(name: str) -> Path:
        raise WeightsError(f"LoRA {name} is missing")

    lost = folder_with(tmp_path, lora)
    lost.lora_file = lose
    assert default_preset(folder_with(tmp_path), slow) == "quality", "its LoRA is missing"
    assert default_preset(folder_with(tmp_path, lora, default="demo"), slow) == "demo"
    assert default_preset(folder_with(tmp_path, lora, default="fusionx", merged=fusionx), slow) == "fusionx"
    assert default_preset(lost, slow) == "quality", "it was baked and is missing now"
    (tmp_path / "loras" / lora).touch()
    assert default_preset(folder_with(tmp_path), slow) == "fast", "copied to the folder"
