"""Baking: what is written, invalid input, and interruptions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan, ModelMixin
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModel, UMT5EncoderModel, Wav2Vec2Model

from multitalk.bake import catalogue, selection
from multitalk.bake.bake import MAX_SHARD_BYTES, _pack, bake
from multitalk.bake.precision import PRECISIONS
from multitalk.bake.published import PublishedWeights, QuantizedSource
from multitalk.bake.selection import select
from multitalk.errors import InvalidInput, WeightsError
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.request import presets
from multitalk.weights.manifest import PARTS, Manifest
from multitalk.weights.store import WeightsFolder, load_part
from multitalk.weights.tensor_files import write_safetensors
from multitalk.weights.verify import verify
from tests.small_checkpoint import FAST, FUSIONX, LIGHTX2V, Sizes, make_small_checkpoint


def test_configurations_match_the_shapes(baked):
    sizes = Sizes()
    config = json.loads((baked / "transformer" / "config.json").read_text())
    assert config["_class_name"] == "MultiTalkTransformer"
    expected = {
        "num_attention_heads": sizes.heads,
        "attention_head_dim": sizes.dim // sizes.heads,
        "in_channels": 36,
        "out_channels": 16,
        "text_dim": sizes.text_dim,
        "freq_dim": sizes.freq_dim,
        "image_dim": sizes.image_dim,
        "num_layers": sizes.layers,
        "audio_layers": sizes.audio_layers,
        "audio_channels": sizes.audio_channels,
        "audio_hidden_dim": sizes.audio_hidden_dim,
        "audio_tokens": sizes.audio_tokens,
        "audio_dim": sizes.audio_dim,
    }
    assert {key: config[key] for key in expected} == expected
    text = json.loads((baked / "text_encoder" / "config.json").read_text())
    assert (text["num_heads"], text["d_kv"], text["num_layers"]) == (3, 16, 2)
    image = json.loads((baked / "image_encoder" / "config.json").read_text())
    assert (image["num_hidden_layers"], image["num_attention_heads"]) == (sizes.image_layers - 1, 16)
    assert (image["hidden_act"], image["image_size"], image["patch_size"]) == ("gelu", 224, 14)
    assert json.loads((baked / "vae" / "config.json").read_text())["base_dim"] == sizes.vae_dim


LIBRARY_CLASSES = {
    "transformer": MultiTalkTransformer,
    "text_encoder": UMT5EncoderModel,
    "image_encoder": CLIPVisionModel,
    "vae": AutoencoderKLWan,
    "audio_encoder": Wav2Vec2Model,
}


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("part", PARTS)
def test_from_pretrained_loads_the_same_tensors(part, precision, baked, baked_bf16):
    folder = WeightsFolder(baked if precision == "float32" else baked_bf16)
    dtype = torch.bfloat16 if folder.manifest.precision[part] == "bf16" else torch.float32
    library = LIBRARY_CLASSES[part]
    argument = "torch_dtype" if issubclass(library, ModelMixin) else "dtype"
    theirs, info = library.from_pretrained(folder.part(part), output_loading_info=True, **{argument: dtype})
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ours = load_part(folder, part, "cpu", dtype).state_dict()
    assert ours.keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert tensor.dtype == ours[name].dtype, name
        assert torch.equal(tensor, ours[name]), name


def test_bf16_keeps_norms_vae_and_audio_encoder_in_float32(baked_bf16):
    tensors = Manifest.read(baked_bf16).tensors
    transformer = {name: info.dtype for name, info in tensors["transformer"].items()}
    for name in (
        "condition_embedder.time_embedder.linear_1.weight",
        "blocks.0.scale_shift_table",
        "blocks.0.norm2.weight",
        "blocks.0.norm_audio.bias",
        "audio_projection.norm.weight",
        "scale_shift_table",
    ):
        assert transformer.pop(name) == "F32", name
    assert transformer["blocks.0.attn1.to_q.weight"] == "BF16"
    assert transformer["audio_projection.proj_first.weight"] == "BF16"
    assert {info.dtype for info in tensors["vae"].values()} == {"F32"}
    assert {info.dtype for info in tensors["audio_encoder"].values()} == {"F32"}
    for part in ("text_encoder", "image_encoder"):
        assert {info.dtype for info in tensors[part].values()} == {"BF16"}


def test_shards_keep_their_limit_and_hold_the_same_tensors(published, baked, tmp_path):
    limit = 70_000  # the largest tensor has 55 000 bytes
    bake(published, tmp_path / "sharded", precision="float32", max_shard_bytes=limit)
    assert verify(tmp_path / "sharded") == []
    files = sorted((tmp_path / "sharded" / "transformer").glob("*.safetensors"))
    assert len(files) > 5
    assert all(file.stat().st_size <= limit for file in files)
    whole = load_part(WeightsFolder(baked), "transformer", "cpu", torch.float32).state_dict()
    folder = WeightsFolder(tmp_path / "sharded")
    for name, tensor in load_part(folder, "transformer", "cpu", torch.float32).state_dict().items():
        assert torch.equal(tensor, whole[name])
    from multitalk.models.transformer import MultiTalkTransformer

    theirs = MultiTalkTransformer.from_pretrained(folder.part("transformer")).state_dict()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in theirs.items())


def test_shards_leave_room_for_headers():
    unit = SimpleNamespace(nbytes=10**6, itemsize=2)
    shards = _pack([unit] * 10_000, MAX_SHARD_BYTES)
    assert [len(shard) for shard in shards] == [4998, 4998, 4]
    assert len(_pack([SimpleNamespace(nbytes=6 * 10**9, itemsize=2)] * 2, MAX_SHARD_BYTES)) == 2


def test_the_manifest_describes_the_bake(published, baked, tmp_path):
    manifest = Manifest.read(baked)
    assert (manifest.default_preset, manifest.loras) == ("quality", ())
    assert {record["file"] for record in manifest.sources["vae"]} == {catalogue.VAE}
    assert sorted(path.name for path in (baked / "loras").iterdir()) == sorted((FUSIONX, LIGHTX2V, FAST))
    merged = bake(published, tmp_path / "merged", precision="float32", loras=[("lightx2v", 1.2)])
    assert merged.default_preset == "lightx2v"
    assert [(lora.name, lora.scale) for lora in merged.loras] == [(LIGHTX2V, 1.2)]
    assert Manifest.read(tmp_path / "merged") == merged


def test_an_unknown_precision_is_refused(published, tmp_path):
    with pytest.raises(InvalidInput, match="must be float32, bf16, int8 or fp8, not 'float17'") as error:
        bake(published, tmp_path / "target", precision="float17")
    assert error.value.field == "precision"


def test_progress_rises_to_one(published, tmp_path):
    seen: list[tuple[str, float]] = []
    bake(published, tmp_path / "b", precision="bf16", progress=lambda *step: seen.append(step))
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert {part for part, _ in seen} >= set(PARTS)


def test_an_interrupted_bake_leaves_nothing(published, tmp_path):
    def interrupt(part: str, fraction: float) -> None:
        if part == "vae":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bake(published, tmp_path / "target", precision="float32", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_only_a_baked_folder_is_overwritten_and_only_on_request(published, baked, copy_of, tmp_path):
    target = copy_of(baked)
    with pytest.raises(InvalidInput, match="is not empty"):
        bake(published, target, precision="bf16")
    bake(published, target, precision="bf16", overwrite=True)
    assert Manifest.read(target).precision["transformer"] == "bf16"
    assert verify(target) == []

    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "letter.txt").write_text("dear")
    for foreign in (tmp_path / "documents", published):
        with pytest.raises(InvalidInput, match="is not a baked weights folder"):
            bake(published, foreign, precision="bf16", overwrite=True)
    assert (tmp_path / "documents" / "letter.txt").exists()


@pytest.mark.parametrize(
    "name",
    [
        catalogue.TRANSFORMER_CONFIG,
        catalogue.TRANSFORMER_INDEX,
        catalogue.TEXT_ENCODER,
        catalogue.IMAGE_ENCODER,
        catalogue.VAE,
        catalogue.AUDIO_ENCODER,
        catalogue.FEATURE_EXTRACTOR_CONFIG,
        f"{catalogue.MULTITALK.folder}/multitalk.safetensors",
        f"{catalogue.WAN.folder}/diffusion_pytorch_model-00002-of-00002.safetensors",
    ],
)
def test_a_missing_file_is_named(name, tmp_path):
    root = make_small_checkpoint(tmp_path / "published")
    (root / name).unlink()
    with pytest.raises(WeightsError, match=name.split("/")[-1]):
        bake(root, tmp_path / "target", precision="float32")
    assert not (tmp_path / "target").exists()


def test_free_disk_space_is_checked_before_writing(published, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(InvalidInput, match="GB of free disk space, but"):
        bake(published, tmp_path / "new" / "target", precision="float32")
    assert list(tmp_path.iterdir()) == []


def test_a_mount_point_is_refused(published, tmp_path, monkeypatch):
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path)
    with pytest.raises(InvalidInput, match=f"{tmp_path} is a mount point.*{tmp_path / 'weights'}"):
        bake(published, tmp_path, precision="float32", overwrite=True)


def test_a_folder_that_fails_verification_is_deleted(published, tmp_path, monkeypatch):
    def write(path: Path, *arguments: Any) -> str:
        sha256 = write_safetensors(path, *arguments)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        return sha256

    monkeypatch.setattr("multitalk.bake.bake.write_safetensors", write)
    with pytest.raises(WeightsError, match="is damaged"):
        bake(published, tmp_path / "target", precision="float32", check=True)
    assert list(tmp_path.iterdir()) == []


def test_files_outside_the_selection_are_ignored(published, tmp_path):
    manifest = bake(
        published, tmp_path / "target", precision="int8", selection=select("int8", loras=["fusionx"])
    )
    assert manifest.sources["transformer"][0]["file"] == catalogue.TRANSFORMER_INT8
    assert manifest.sources["text_encoder"][0]["file"] == catalogue.TEXT_ENCODER_INT8
    assert [name for name in manifest.files if name.startswith("loras/")] == [f"loras/{FUSIONX}"]


def test_every_precision_has_an_estimate_of_its_size():
    for written in selection._WRITTEN.values():
        assert set(written) == set(PRECISIONS)


def test_presets_and_loras_agree_with_the_request_package():
    assert set(catalogue.PRESETS) == set(presets.PRESETS)
    loras = {name: preset.lora for name, preset in presets.PRESETS.items() if preset.lora is not None}
    assert loras == catalogue.LORA_FILES | {"balanced": catalogue.LORA_FILES["fast"]}


def test_damaged_files_are_named(published, copy_of, tmp_path):
    root = copy_of(published)
    shard = root / catalogue.WAN.folder / "diffusion_pytorch_model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"00001-of-00002\.safetensors has .* bytes, but must have"):
        bake(root, tmp_path / "target", precision="float32")
    shutil.copyfile(published / catalogue.WAN.folder / shard.name, shard)
    (root / catalogue.VAE).write_bytes((root / catalogue.VAE).read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"Wan2\.1_VAE\.pth cannot be read"):
        bake(root, tmp_path / "target", precision="float32")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors: tensors | {"audio_proj.extra.weight": torch.ones(3)},
            "has a tensor that the model does not have",
        ),
        (lambda tensors: tensors | {"blocks.0.norm_x.weight": torch.ones(3)}, "has the shape"),
        (lambda tensors: {k: v for k, v in tensors.items() if k != "blocks.1.norm_x.bias"}, "lacks a tensor"),
    ],
)
def test_tensors_that_do_not_match_the_model_are_named(change, message, published, copy_of, tmp_path):
    root = copy_of(published)
    path = root / catalogue.MULTITALK.folder / "multitalk.safetensors"
    tensors = change(load_file(path))
    save_file(tensors, path)
    index = json.loads((root / catalogue.TRANSFORMER_INDEX).read_text())
    kept = {key: name for key, name in index["weight_map"].items() if name != path.name}
    index["weight_map"] = kept | dict.fromkeys(tensors, path.name)
    (root / catalogue.TRANSFORMER_INDEX).write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=message):
        bake(root, tmp_path / "target", precision="float32")


def test_int8_files_are_used_if_the_others_are_missing(published, copy_of, tmp_path):
    root = copy_of(published)
    for path in (root / catalogue.WAN.folder).glob("*.safetensors"):
        path.unlink()
    (root / catalogue.TEXT_ENCODER).unlink()
    weights = PublishedWeights(root)
    assert weights.transformer_form() == "int8"
    manifest = bake(root, tmp_path / "int8", precision="float32")
    assert manifest.sources["transformer"][0]["file"] == catalogue.TRANSFORMER_INT8
    assert manifest.sources["text_encoder"][0]["file"] == catalogue.TEXT_ENCODER_INT8

    stored = load_file(root / catalogue.TRANSFORMER_INT8)
    key = "blocks.1.audio_cross_attn.kv_linear.weight"
    expected = stored[f"{key}._data"].float() * stored[f"{key}._scale"].float()
    model = load_part(WeightsFolder(tmp_path / "int8"), "transformer", "cpu", torch.float32)
    attention = model.blocks[1].audio_attn
    assert torch.equal(torch.cat((attention.to_k.weight, attention.to_v.weight)), expected)
    # int8 values are close to the original
    original = PublishedWeights(published).multitalk().get(key)
    assert (expected - original).abs().max() <= original.abs().max() / 127

    (root / catalogue.TRANSFORMER_INT8).rename(root / catalogue.TRANSFORMER_INT8_FUSIONX)
    assert weights.transformer_form() == "int8-fusionx"
    with pytest.raises(WeightsError, match=r"may have changed .* Use --model multitalk, or"):
        bake(root, tmp_path / "both", precision="bf16")
    merged = bake(root, tmp_path / "fusionx", precision="bf16", models=["multitalk"])
    assert (merged.default_preset, merged.loras[0].name) == ("fusionx", FUSIONX)
    with pytest.raises(InvalidInput, match="already"):
        bake(root, tmp_path / "twice", precision="bf16", loras=[("fusionx", 1.0)], models=["multitalk"])


def test_int8_without_its_scales_is_refused(published, tmp_path):
    stored = load_file(published / catalogue.TEXT_ENCODER_INT8)
    del stored["blocks.0.attn.q.weight._scale"]
    save_file(stored, tmp_path / "t5.safetensors")
    with pytest.raises(WeightsError, match=r"blocks\.0\.attn\.q\.weight\._scale"):
        QuantizedSource(tmp_path / "t5.safetensors")


def test_unknown_forms_and_missing_folders_are_refused(published, tmp_path):
    for argument in ("transformer_source", "text_encoder_source"):
        with pytest.raises(InvalidInput, match=f"{argument} must be .*, not 'gguf'"):
            bake(published, tmp_path / "target", **{argument: "gguf"})
    with pytest.raises(WeightsError, match="missing"):
        bake(tmp_path / "nowhere", tmp_path / "target")
