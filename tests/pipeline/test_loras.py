"""The LoRAs of a job."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from multitalk.bake.bake import bake
from multitalk.errors import InvalidInput, WeightsError
from multitalk.pipeline.planning import job_loras
from multitalk.request.presets import PRESETS
from multitalk.weights.manifest import make_manifest
from multitalk.weights.store import WeightsFolder
from tests.small_checkpoint import FUSIONX


def test_loras_of_a_job(baked, published, tmp_path):
    folder = WeightsFolder(baked)
    extra = [SimpleNamespace(path=tmp_path / "own.safetensors", scale=0.3)]
    assert job_loras(folder, PRESETS["quality"]) == []
    assert job_loras(folder, PRESETS["fusionx"], extra) == [
        (baked / "loras" / FUSIONX, 1.0),
        (tmp_path / "own.safetensors", 0.3),
    ]
    bake(published, tmp_path / "merged", precision="float32", loras=[("fusionx", 1.0)])
    merged = WeightsFolder(tmp_path / "merged")
    assert job_loras(merged, PRESETS["fusionx"], extra) == [(tmp_path / "own.safetensors", 0.3)]
    with pytest.raises(InvalidInput, match="merged") as error:
        job_loras(merged, PRESETS["quality"])
    assert error.value.field == "preset"


def test_a_preset_whose_lora_was_not_baked(baked, copy_of):
    target = copy_of(baked)
    (target / "loras" / FUSIONX).unlink()
    make_manifest(target, name="without", default_preset="quality", precision={})
    folder = WeightsFolder(target)
    with pytest.raises(InvalidInput, match=r"preset 'fusionx' .*FusionX_LoRA.* is missing from") as error:
        job_loras(folder, PRESETS["fusionx"])
    assert error.value.field == "preset"


def test_a_preset_whose_baked_lora_was_deleted(baked, copy_of):
    target = copy_of(baked)
    folder = WeightsFolder(target)
    (target / "loras" / FUSIONX).unlink()
    with pytest.raises(WeightsError, match="FusionX_LoRA"):
        job_loras(folder, PRESETS["fusionx"])
