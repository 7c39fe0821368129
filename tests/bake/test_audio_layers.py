"""Baking the audio layers of several models: which are found, what is stored, and files that do not match."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from multitalk.bake import catalogue
from multitalk.bake.bake import bake
from multitalk.bake.commands import add_bake, run_command
from multitalk.bake.selection import select
from multitalk.errors import InvalidInput, WeightsError
from multitalk.weights.audio_layers import AudioLayerSwitcher
from multitalk.weights.lora_switch import LoraSwitcher
from multitalk.weights.manifest import PARTS, Manifest
from multitalk.weights.renames import convert_transformer_tensor
from multitalk.weights.store import WeightsFolder, load_part
from multitalk.weights.verify import verify
from tests.small_checkpoint import REPLACED

SINGLE, MULTI = catalogue.MODELS["infinitetalk"]
SETS = ("multitalk", SINGLE, MULTI)
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def raw(published, copy_of) -> Path:
    return copy_of(published)


def weights_of(folder: Path, name: str, dtype: torch.dtype = torch.float32) -> Tensors:
    """Load a folder, switch to a set and return the weights."""
    weights = WeightsFolder(folder)
    model = load_part(weights, "transformer", "cpu", dtype)
    AudioLayerSwitcher(model, weights, LoraSwitcher(model)).use(name)
    return dict(model.state_dict())


def converted(tensors: Tensors) -> Tensors:
    return dict(named for key, tensor in tensors.items() for named in convert_transformer_tensor(key, tensor))


def union(raw: Path, name: str) -> Tensors:
    """The published tensors with a set, as the reference reads them: the later file counts."""
    tensors: Tensors = {}
    for path in sorted(raw.glob(catalogue.TRANSFORMER_SHARDS)):
        tensors |= load_file(path)
    layers = catalogue.AUDIO_LAYERS if name == "multitalk" else catalogue.INFINITETALK_LAYERS[name]
    return converted(tensors | load_file(raw / layers))


def same(first: Tensors, second: Tensors) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def remove(raw: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in list(raw.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


ALONE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "both": ((), SETS),
    "MultiTalk": (("InfiniteTalk",), ("multitalk",)),
    "InfiniteTalk": (("MeiGen-MultiTalk",), (SINGLE, MULTI)),
    "one person": (("MeiGen-MultiTalk", "InfiniteTalk/multi"), (SINGLE,)),
    "two people": (("InfiniteTalk/single",), ("multitalk", MULTI)),
}


@pytest.mark.parametrize("found", ALONE)
def test_all_models_that_are_found_are_baked(found, raw, tmp_path):
    removed, sets = ALONE[found]
    remove(raw, *removed)
    manifest = bake(raw, tmp_path / "baked", precision="float32", check=True)
    assert manifest.audio_layers == Manifest.read(tmp_path / "baked").audio_layers == sets
    assert manifest.name.startswith({"multitalk": "MultiTalk", SINGLE: "InfiniteTalk"}[sets[0]])
    assert manifest.precision == dict.fromkeys(PARTS, "float32")
    for name in sets:
        assert same(weights_of(tmp_path / "baked", name), union(raw, name)), name


def test_the_transformer_folder_is_complete_with_the_first_set(published, tmp_path):
    from multitalk.models.transformer import MultiTalkTransformer

    bake(published, tmp_path / "baked", precision="float32", models=["infinitetalk"])
    model = MultiTalkTransformer.from_pretrained(tmp_path / "baked/transformer")
    assert same(dict(model.state_dict()), union(published, SINGLE))


def test_a_set_stores_what_differs_from_the_first(published, tmp_path):
    manifest = bake(published, tmp_path / "all", precision="float32")
    replaced = set(converted({key: torch.empty(2) for key in REPLACED}))
    audio = set(manifest.tensors[f"audio_layers/{MULTI}"])
    assert all("audio_" in name for name in audio if "norm" not in name)
    assert set(manifest.tensors[f"audio_layers/{SINGLE}"]) == audio | replaced
    # the first set replaces base tensors, so the others have the base model's
    alone = bake(published, tmp_path / "alone", precision="float32", models=["infinitetalk"])
    assert set(alone.tensors[f"audio_layers/{MULTI}"]) == audio | replaced
    sources = {entry["file"] for entry in alone.sources[f"audio_layers/{MULTI}"]}
    assert catalogue.INFINITETALK_LAYERS[MULTI] in sources


def test_base_tensors_with_the_same_values_are_not_stored_again(raw, tmp_path):
    base = load_file(raw / catalogue.WAN.folder / "diffusion_pytorch_model-00001-of-00002.safetensors")
    key = next(key for key in base if key.endswith("cross_attn.k.weight"))
    path = raw / catalogue.INFINITETALK_LAYERS[MULTI]
    save_file(load_file(path) | {key: base[key].clone()}, path)
    manifest = bake(raw, tmp_path / "baked", precision="float32")
    assert not any("attn2" in name for name in manifest.tensors[f"audio_layers/{MULTI}"])


def test_replaced_tensors_are_reported(published, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        bake(published, tmp_path / "baked", precision="float32")
    assert [record.message for record in caplog.records] == [
        "single/infinitetalk.safetensors replaces 3 tensors of the base model (0.0 MB): "
        "blocks.0.cross_attn.k_img.weight, blocks.1.self_attn.q.bias and 1 more."
    ]


CHANGES: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "left over": (
        lambda tensors: tensors | {"audio_proj.extra.weight": torch.ones(3)},
        "infinitetalk.safetensors has a tensor that the model does not have: audio_proj.extra.weight.",
    ),
    "left over, of the base": (
        lambda tensors: tensors | {"blocks.7.ffn.0.bias": torch.ones(3)},
        "infinitetalk.safetensors has a tensor that the model does not have: blocks.7.ffn.0.bias.",
    ),
    "missing": (
        lambda tensors: {key: tensors[key] for key in tensors if key != "blocks.1.norm_x.bias"},
        "infinitetalk.safetensors, with 2 more, lacks a tensor of the transformer: blocks.1.norm_audio.bias.",
    ),
    "another shape": (
        lambda tensors: tensors | {"blocks.0.norm_x.weight": torch.ones(3)},
        "infinitetalk.safetensors: blocks.0.norm_x.weight has the shape (3,), but the model needs (48,).",
    ),
    "replaced with another shape": (
        lambda tensors: tensors | {"blocks.0.norm3.weight": torch.ones(3)},
        "infinitetalk.safetensors: blocks.0.norm3.weight has the shape (3,), but the model needs (48,).",
    ),
}


@pytest.mark.parametrize("name", [SINGLE, MULTI])
@pytest.mark.parametrize("change", CHANGES)
def test_files_that_do_not_match_are_named(change, name, raw, tmp_path):
    path = raw / catalogue.INFINITETALK_LAYERS[name]
    edit, message = CHANGES[change]
    save_file(edit(load_file(path)), path)
    with pytest.raises(WeightsError) as error:
        bake(raw, tmp_path / "baked", precision="float32")
    assert str(error.value).startswith(f"Weights file {path}")
    assert str(error.value).endswith(message)
    assert not (tmp_path / "baked").exists()


def test_multitalks_audio_layers_do_not_stand_in_for_missing_ones(raw, tmp_path):
    """In the int8 form, the base model's file contains them."""
    path = raw / catalogue.INFINITETALK_LAYERS[MULTI]
    save_file({key: value for key, value in load_file(path).items() if ".norm_x." not in key}, path)
    with pytest.raises(WeightsError, match=r"lacks a tensor of the transformer: .*norm_audio\.weight"):
        bake(raw, tmp_path / "baked", precision="int8", transformer_source="int8")


@pytest.mark.parametrize("model", catalogue.MODELS)
def test_a_model_can_be_chosen(model, published, tmp_path):
    arguments = ["--from", str(published), "--to", str(tmp_path / "baked"), "--precision", "float32"]
    assert run_command("multitalk.bake", None, add_bake, [*arguments, "--model", model]) == 0
    assert Manifest.read(tmp_path / "baked").audio_layers == catalogue.MODELS[model]


def test_a_chosen_model_must_exist(raw, tmp_path):
    remove(raw, "InfiniteTalk/single", "InfiniteTalk/multi")
    with pytest.raises(WeightsError, match=r"single/infinitetalk\.safetensors is missing"):
        bake(raw, tmp_path / "baked", precision="float32", models=["infinitetalk"])
    with pytest.raises(InvalidInput, match="model must be multitalk or infinitetalk, not 'wav2lip'"):
        bake(raw, tmp_path / "baked", precision="float32", models=["wav2lip"])


def test_int8_adds_audio_layers_to_the_published_int8_base(published, tmp_path):
    """What `fetch --precision int8` downloads: MultiTalk's int8 file and InfiniteTalk's float32 layers."""
    manifest = bake(published, tmp_path / "baked", precision="int8", selection=select("int8", loras=()))
    assert manifest.audio_layers == SETS
    files = {entry["file"] for entry in manifest.sources[f"audio_layers/{SINGLE}"]}
    assert files == {catalogue.TRANSFORMER_INT8, catalogue.INFINITETALK_LAYERS[SINGLE]}
    stored = WeightsFolder(tmp_path / "baked").tensors("transformer")
    published_int8 = load_file(published / catalogue.TRANSFORMER_INT8)
    values = published_int8["blocks.0.self_attn.q.weight._data"]
    assert torch.equal(stored.get("blocks.0.attn1.to_q.weight"), values)
    exact = union(published, MULTI)
    weights = weights_of(tmp_path / "baked", MULTI, torch.bfloat16)
    name = "blocks.1.audio_attn.to_out"
    error = weights[f"{name}.weight"].float() * weights[f"{name}.scale"] - exact[f"{name}.weight"]
    assert (error.abs() <= 0.501 * weights[f"{name}.scale"]).all()


@pytest.mark.parametrize("form", ["int8", "fp8"])
def test_whole_quantized_transformers_share_their_base(form, raw, tmp_path):
    """InfiniteTalk's own quantized files, without any other transformer."""
    remove(raw, "MeiGen-MultiTalk", "InfiniteTalk/single", "InfiniteTalk/multi", catalogue.TRANSFORMER_SHARDS)
    remove(raw, *(path for other, path in catalogue.WHOLE_TRANSFORMERS["int8"].items() if form == "fp8"))
    (raw / catalogue.TEXT_ENCODER).unlink()
    manifest = bake(raw, tmp_path / "baked", precision=form, check=True)
    assert manifest.audio_layers == (SINGLE, MULTI)
    assert manifest.sources["text_encoder"][0]["file"] == catalogue.QUANTIZED_TEXT_ENCODERS["fp8"]
    # the values of the base model are the same in both files, except for what the first set replaces
    layers = {name for name in manifest.tensors[f"audio_layers/{MULTI}"] if not name.endswith("scale")}
    replaced = set(converted({key: torch.empty(2) for key in REPLACED}))
    audio = {
        name for name in manifest.tensors["transformer"] if "audio" in name and not name.endswith("scale")
    }
    assert layers == audio | replaced
    for name in (SINGLE, MULTI):  # published 8-bit values are kept
        whole = load_file(raw / catalogue.WHOLE_TRANSFORMERS[form][name])
        weights = weights_of(tmp_path / "baked", name, torch.bfloat16)
        for key, new in (
            ("blocks.0.cross_attn.k_img", "blocks.0.attn2.add_k_proj"),
            ("blocks.1.audio_cross_attn.proj", "blocks.1.audio_attn.to_out"),
        ):
            expected = whole[f"{key}.weight._data"].view(torch.uint8)
            assert torch.equal(weights[f"{new}.weight"].view(torch.uint8), expected)
            assert torch.equal(weights[f"{new}.scale"], whole[f"{key}.weight._scale"].float())


def test_large_sets_are_cut_into_shards(published, tmp_path):
    bake(published, tmp_path / "baked", precision="float32", max_shard_bytes=60_000)
    folder = tmp_path / "baked/audio_layers" / SINGLE
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert max(path.stat().st_size for path in folder.glob("*.safetensors")) <= 60_000
    assert verify(tmp_path / "baked") == []
    assert same(weights_of(tmp_path / "baked", SINGLE), union(published, SINGLE))


def test_a_merged_lora_changes_every_set(published, tmp_path):
    bake(published, tmp_path / "plain", precision="float32")
    manifest = bake(published, tmp_path / "merged", precision="float32", loras=[("lightx2v", 1.0)])
    assert manifest.default_preset == "lightx2v"
    for name in SETS:
        weights = WeightsFolder(tmp_path / "plain")
        model = load_part(weights, "transformer", "cpu", torch.float32)
        switcher = AudioLayerSwitcher(model, weights, LoraSwitcher(model))
        switcher.use(name)
        before = model.get_parameter("blocks.1.attn1.to_q.bias").clone()
        switcher.loras.activate([(weights.path / "loras" / catalogue.LORA_FILES["lightx2v"], 1.0)])
        after = weights_of(tmp_path / "merged", name)["blocks.1.attn1.to_q.bias"]
        assert torch.equal(after, model.get_parameter("blocks.1.attn1.to_q.bias"))
        assert not torch.equal(after, before)


def test_selections_of_models():
    assert select("bf16").models == ("multitalk", "infinitetalk")
    assert select("int8", models=["infinitetalk"]).models == ("infinitetalk",)
    assert select("fp8", "fp8").models == ("infinitetalk",)
    assert (select("fp8", "fp8").text_encoder, select("int8").text_encoder) == ("fp8", "int8")
    with pytest.raises(InvalidInput, match="transformer-source fp8 is not published for multitalk"):
        select("fp8", "fp8", models=["multitalk"])
    paths = {path for files in select("int8", models=["multitalk"]).file_sets for path in files.paths}
    assert not any(path.startswith("InfiniteTalk/") for path in paths)
    paths = {path for files in select("bf16", models=["infinitetalk"]).file_sets for path in files.paths}
    assert set(catalogue.INFINITETALK_LAYERS.values()) <= paths
    assert not any(path.startswith("MeiGen-MultiTalk/") for path in paths)


def test_the_estimate_of_a_bake_counts_float32_audio_layers():
    """In the int8 form, they are the only files whose values become smaller."""
    sizes = {catalogue.TRANSFORMER_INT8: 19_400, catalogue.INFINITETALK_LAYERS[SINGLE]: 11_000}
    assert select("int8").baked_bytes(sizes) == int(19_400 * 0.9) + int(11_000 * 0.35)
