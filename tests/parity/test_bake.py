"""The bake of the reference's checkpoint: merged LoRAs and int8 files."""

from __future__ import annotations

import pytest
import torch

from multitalk.bake.bake import bake
from multitalk.bake.published import PublishedWeights
from multitalk.weights.lora import LoraFile, merge
from multitalk.weights.store import WeightsFolder, load_part
from multitalk.weights.verify import verify
from tests.numbers import assert_close
from tests.small_checkpoint import FUSIONX, LIGHTX2V

from .conftest import recorded


@pytest.mark.parametrize(("name", "file", "scale"), [("fusionx", FUSIONX, 1.0), ("lightx2v", LIGHTX2V, 1.2)])
def test_merged_tensors_are_the_references(name, file, scale, weights, load_case):
    lora = LoraFile(weights / file, scale)
    source = PublishedWeights(weights).multitalk()
    case = load_case("dit_lora_int8").tensors
    merged = {
        key.removeprefix(f"{name}."): value for key, value in case.items() if key.startswith(f"{name}.")
    }
    assert len(merged) == 5
    for key, expected in merged.items():
        assert_close(*recorded(merge(key, source.get(key), [lora]), expected))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_baked_folder_is_whole(precision, weights, tmp_path):
    bake(weights, tmp_path / "baked", precision=precision)
    assert verify(tmp_path / "baked") == []


def test_the_int8_files_are_near_what_they_were_made_from(weights, tmp_path):
    exact = bake(weights, tmp_path / "exact", precision="float32", loras=[("fusionx", 1.0)])
    rough = bake(
        weights,
        tmp_path / "rough",
        precision="float32",
        transformer_source="int8-fusionx",
        text_encoder_source="int8",
    )
    assert exact.loras == rough.loras
    for part in ("transformer", "text_encoder"):
        models = [
            load_part(WeightsFolder(tmp_path / name), part, "cpu", torch.float32).state_dict()
            for name in ("exact", "rough")
        ]
        for name, tensor in models[0].items():
            # half a step by rounding to 127 steps, and a quarter each by bf16 of the value, of its row's
            # factor and of their quotient
            step = tensor.abs().max() / 127
            assert (models[1][name] - tensor).abs().max() <= 1.25 * step, name
