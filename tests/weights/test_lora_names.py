"""LoRA files of every trainer: their names, and files that are left out or refused."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from multitalk.bake.bake import bake
from multitalk.errors import WeightsError
from multitalk.weights.lora import LoraFile, check_loras
from multitalk.weights.lora_names import parse_name
from multitalk.weights.lora_switch import LoraSwitcher
from multitalk.weights.renames import TRANSFORMER
from multitalk.weights.store import WeightsFolder, load_part
from tests.small_checkpoint import Sizes, transformer_shapes

SHARED = Path(__file__).resolve().parents[3] / "shared" / "cases" / "lora"
SHARED_SHAPES = transformer_shapes(Sizes(dim=144, ffn_dim=288))
DIM = Sizes().dim
# Published modules that trainers change, and one whose names differ most between published and diffusers'.
MODULES = (
    *("blocks.1.self_attn.q", "blocks.0.self_attn.o", "blocks.0.cross_attn.k_img", "blocks.0.cross_attn.v"),
    *(
        "blocks.1.ffn.0",
        "blocks.0.ffn.2",
        "text_embedding.0",
        "time_projection.1",
        "img_emb.proj.3",
        "head.head",
    ),
)


def new_name(module: str) -> str:
    """The module's name in diffusers."""
    (name, _), *_ = TRANSFORMER.convert(f"{module}.weight", torch.empty(2, device="meta"))
    return name.removesuffix(".weight")


# By trainer: the name of a module's two matrices, "down" or "up".
NAMINGS = {
    "ComfyUI": lambda module, role: f"diffusion_model.{module}.lora_{role}.weight",
    "ComfyUI, A and B": lambda module, role: f"diffusion_model.{module}.lora_{letter(role)}.weight",
    "a whole checkpoint": lambda module, role: f"model.diffusion_model.{module}.lora_{role}.weight",
    "DiffSynth": lambda module, role: f"{module}.lora_{letter(role)}.default.weight",
    "DiffSynth, pipeline": lambda module, role: f"pipe.dit.{module}.lora_{letter(role)}.default.weight",
    "kohya": lambda module, role: f"lora_unet_{module.replace('.', '_')}.lora_{role}.weight",
    "kohya, diffusers": lambda module, role: f"lora_unet_{flat(new_name(module))}.lora_{role}.weight",
    "LyCORIS": lambda module, role: f"lycoris_{flat(module)}.lora_{role}.weight",
    "diffusers": lambda module, role: f"transformer.{new_name(module)}.lora_{letter(role)}.weight",
    "diffusers, old": lambda module, role: f"transformer.{new_name(module)}.lora.{role}.weight",
    "PEFT": lambda module, role: f"base_model.model.{module}.lora_{letter(role)}.weight",
    "PEFT, adapter": lambda module, role: f"base_model.model.{module}.lora_{letter(role)}.style.weight",
    "PEFT, diffusers": lambda module, role: f"base_model.model.{new_name(module)}.lora_{letter(role)}.weight",
}


def letter(role: str) -> str:
    return {"down": "A", "up": "B"}[role]


def flat(name: str) -> str:
    return name.replace(".", "_")


def write(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file(tensors, tmp_path / "own.safetensors")
    return tmp_path / "own.safetensors"


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_naming_changes_the_same_tensors(naming, tmp_path):
    shapes = transformer_shapes(Sizes())
    generator = torch.Generator().manual_seed(1)
    tensors, expected = {}, {}
    for module in MODULES:
        rows, columns = shapes[f"{module}.weight"]
        down, up = (torch.randn(size, generator=generator) for size in ((3, columns), (rows, 3)))
        tensors |= {NAMINGS[naming](module, "down"): down, NAMINGS[naming](module, "up"): up}
        expected[f"{module}.weight"] = up @ down
    lora = LoraFile(write(tmp_path, tensors))
    check_loras([lora], shapes)
    assert set(lora.changed) == set(expected)
    for key, change in expected.items():
        torch.testing.assert_close(lora.delta(key, shapes[key]), change)


def test_every_linear_layer_has_one_name_in_each_naming():
    modules = [
        key.removesuffix(".weight")
        for key, shape in transformer_shapes(Sizes()).items()
        if key.endswith(".weight") and len(shape) == 2 and "audio" not in key
    ]
    for naming, name in NAMINGS.items():
        parsed = {module: parse_name(name(module, "up")) for module in modules}
        assert parsed == {module: (f"{module}.weight", "up") for module in modules}, naming


def test_lightx2v_differences(tmp_path):
    tensors = {
        "diffusion_model.blocks.0.diff_m": torch.full((1, 6, DIM), 2.0),
        "diffusion_model.blocks.1.modulation.diff": torch.full((1, 6, DIM), 3.0),
        "diffusion_model.head.diff_m": torch.full((1, 2, DIM), 4.0),
        "diffusion_model.blocks.0.norm3.diff": torch.full((DIM,), 5.0),
        "transformer.blocks.1.attn1.to_q.lora_B.bias": torch.full((DIM,), 6.0),
    }
    lora = LoraFile(write(tmp_path, tensors), 0.5)
    shapes = transformer_shapes(Sizes())
    check_loras([lora], shapes)
    values = {key: float(lora.delta(key, shapes[key]).mean()) for key in lora.changed}
    assert values == {
        "blocks.0.modulation": 1.0,
        "blocks.1.modulation": 1.5,
        "head.modulation": 2.0,
        "blocks.0.norm3.weight": 2.5,
        "blocks.1.self_attn.q.bias": 3.0,
    }


@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ({"lora_alpha": 8, "r": 4}, 2.0),
        ({"lora_alpha": 8, "use_rslora": True}, 4.0),
        ({"lora_alpha": 8, "alpha_pattern": {"attn1.to_q": 4}}, 1.0),
        ({"lora_alpha": 8, "alpha_pattern": {"to_q": 6, "attn2.to_q": 4}}, 1.5),
        ({"lora_alpha": None}, 1.0),
        ({"lora_alpha": "8", "alpha_pattern": None}, 2.0),
        ({"lora_alpha": " 8.0 ", "use_rslora": "True"}, 4.0),
        ({"lora_alpha": 8, "alpha_pattern": {"attn1.to_q": "4"}}, 1.0),
        (None, 1.0),
    ],
)
@pytest.mark.parametrize("source", ["diffusers", "PEFT"])
def test_the_alpha_of_a_configuration(source, config, factor, tmp_path):
    path, down, up = write_with_config(tmp_path, source, config)
    torch.testing.assert_close(
        LoraFile(path, 0.5).delta("blocks.0.self_attn.q.weight", (DIM, DIM)), 0.5 * factor * up @ down
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"lora_alpha": "high"}, 'lora_alpha must be a number, not "high"'),
        ({"lora_alpha": ""}, "lora_alpha must be a number"),
        ({"lora_alpha": True}, "lora_alpha must be a number, not true"),
        ({"lora_alpha": [8]}, "lora_alpha must be a number"),
        ({"lora_alpha": "nan"}, "lora_alpha must be a number"),
        ({"lora_alpha": 10**400}, "lora_alpha must be a number"),
        ({"lora_alpha": 8, "alpha_pattern": [1]}, "alpha_pattern must be an object"),
        ({"alpha_pattern": {"to_q": "x"}}, 'alpha_pattern of "to_q" must be a number'),
        ({"use_rslora": "perhaps"}, "use_rslora must be true or false"),
        ([8], "must be a JSON object"),
        ("{", "must be a JSON object"),
    ],
)
@pytest.mark.parametrize("source", ["diffusers", "PEFT"])
def test_malformed_configurations_are_refused(source, config, message, tmp_path):
    path, *_ = write_with_config(tmp_path, source, config)
    with pytest.raises(WeightsError, match=f"LoRA file .* is not supported: .*{re.escape(message)}"):
        LoraFile(path)


def test_an_alpha_written_as_text_in_the_header(tmp_path):
    """As trainers without diffusers or PEFT write it."""
    sides = {"A": torch.ones(4, DIM), "B": torch.ones(DIM, 4)}
    tensors = {f"blocks.0.attn1.to_q.lora_{side}.weight": matrix for side, matrix in sides.items()}
    path = tmp_path / "own.safetensors"
    save_file(tensors, path, {"lora_alpha": "8"})
    values = LoraFile(path).delta("blocks.0.self_attn.q.weight", (DIM, DIM))
    assert torch.equal(values, torch.full((DIM, DIM), 8.0))
    save_file(tensors, path, {"lora_alpha": "all"})
    with pytest.raises(WeightsError, match='lora_alpha must be a number, not "all"'):
        LoraFile(path)


@pytest.mark.parametrize("kind", ["folder", "FIFO"])
def test_a_configuration_that_is_no_file(kind, tmp_path):
    path, *_ = write_with_config(tmp_path, "PEFT", None)
    config = tmp_path / "adapter_config.json"
    config.mkdir() if kind == "folder" else os.mkfifo(config)
    with pytest.raises(WeightsError, match=r"adapter_config\.json must be a file"):
        LoraFile(path)


def write_with_config(tmp_path, source, config):
    """Write a LoRA of rank 4 with a configuration; return its path and its matrices."""
    generator = torch.Generator().manual_seed(2)
    down, up = (torch.randn(shape, generator=generator) for shape in ((4, DIM), (DIM, 4)))
    prefix = "transformer." if source == "diffusers" else "base_model.model."
    module = f"{prefix}blocks.0.attn1.to_q"
    metadata = {"format": "pt"}
    if source == "PEFT" and config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        (tmp_path / "adapter_config.json").write_text(text)
    elif config is not None:
        packed = {prefix + k: v for k, v in config.items()} if isinstance(config, dict) else config
        metadata["lora_adapter_metadata"] = packed if isinstance(packed, str) else json.dumps(packed)
    path = tmp_path / "adapter_model.safetensors"
    save_file({f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}, path, metadata)
    return path, down, up


@pytest.mark.parametrize("path", sorted(SHARED.glob("*.safetensors")), ids=lambda path: path.stem)
def test_shared_files(path):
    """``../shared/cases/lora``: three layers each, with and without alpha."""
    stored = load_file(path)
    lora = LoraFile(path)
    check_loras([lora], SHARED_SHAPES)
    expected = {
        "kohya_musubi": {
            "blocks.0.cross_attn.k_img": "lora_unet_blocks_0_cross_attn_k_img",
            "blocks.0.ffn.0": "lora_unet_blocks_0_ffn_0",
            "blocks.0.self_attn.q": "lora_unet_blocks_0_self_attn_q",
        },
        "diffusers": {
            "blocks.0.self_attn.q": "transformer.blocks.0.attn1.to_q",
            "blocks.0.cross_attn.k_img": "transformer.blocks.0.attn2.add_k_proj",
            "blocks.0.ffn.0": "transformer.blocks.0.ffn.net.0.proj",
        },
    }[path.stem]
    assert set(lora.changed) == {f"{module}.weight" for module in expected}
    for module, name in expected.items():
        down, up = (
            next(
                stored[key].float()
                for key in (f"{name}.{old}.weight", f"{name}.{new}.weight")
                if key in stored
            )
            for old, new in (("lora_down", "lora_A"), ("lora_up", "lora_B"))
        )
        factor = float(stored.get(f"{name}.alpha", torch.tensor(4.0))) / 4  # the rank
        key = f"{module}.weight"
        torch.testing.assert_close(lora.delta(key, SHARED_SHAPES[key]), factor * up @ down)


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        ("dora_scale", "DoRA"),
        ("lora_magnitude_vector.weight", "DoRA"),
        ("hada_w1_a", "LoHa"),
        ("lokr_w2", "LoKr"),
        ("lora_mid.weight", "LoCon"),
        ("oft_blocks", "OFT"),
    ],
)
@pytest.mark.parametrize("module", ["lora_unet_blocks_0_self_attn_q", "diffusion_model.blocks.0.self_attn.q"])
def test_unsupported_kinds_are_named(module, suffix, kind, tmp_path):
    tensors = {
        f"{module}.lora_down.weight": torch.ones(4, DIM),
        f"{module}.lora_up.weight": torch.ones(DIM, 4),
    }
    with pytest.raises(WeightsError, match=rf"own\.safetensors is not supported: it is a {kind}.*{suffix}"):
        LoraFile(write(tmp_path, tensors | {f"{module}.{suffix}": torch.ones(4, 4)}))


def test_two_adapters_in_one_file_are_refused(tmp_path):
    module = "base_model.model.blocks.0.self_attn.q"
    tensors = {}
    for adapter in ("one", "two"):
        tensors[f"{module}.lora_A.{adapter}.weight"] = torch.ones(4, DIM)
        tensors[f"{module}.lora_B.{adapter}.weight"] = torch.ones(DIM, 4)
    with pytest.raises(WeightsError, match=r"lora_[AB]\.two"):
        LoraFile(write(tmp_path, tensors))


TEXT_TO_VIDEO_INPUTS = {
    "whole": {"diff": torch.ones(DIM, 16, 1, 2, 2)},
    "matrices": {
        "lora_down.weight": torch.ones(4, 16, 1, 2, 2),
        "lora_up.weight": torch.ones(DIM, 4, 1, 1, 1),
    },
    "flat": {
        "lora_A.weight": torch.ones(4, 64),
        "lora_B.weight": torch.ones(DIM, 4),
        "alpha": torch.ones(()),
    },
}


@pytest.mark.parametrize("form", TEXT_TO_VIDEO_INPUTS)
def test_a_text_to_video_patch_embedding_is_left_out(form, published, baked, tmp_path, caplog):
    others = {
        "diffusion_model.blocks.0.self_attn.q.diff_b": torch.ones(DIM),
        "diffusion_model.patch_embedding.diff_b": torch.ones(DIM),
    }
    patch = {
        f"diffusion_model.patch_embedding.{name}": value for name, value in TEXT_TO_VIDEO_INPUTS[form].items()
    }
    path = write(tmp_path, others | patch)
    model = load_part(WeightsFolder(baked), "transformer", "cpu", torch.float32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    switcher = LoraSwitcher(model)
    switcher.activate([(path, 1.0)])
    (warning,) = switcher.warnings
    assert "own.safetensors is for text to video" in warning
    assert "patch embedding" in warning
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"blocks.0.attn1.to_q.bias", "patch_embedding.bias"}
    switcher.activate([(path, 1.0)])  # unchanged: nothing is read
    assert switcher.warnings == (warning,)
    switcher.activate([])
    assert switcher.warnings == ()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    bake(published, tmp_path / "target", precision="float32", loras=[(path, 1.0)])
    assert warning in caplog.text


def test_nothing_that_the_model_has_is_refused(baked, tmp_path):
    patch = {f"patch_embedding.{name}": value for name, value in TEXT_TO_VIDEO_INPUTS["whole"].items()}
    switcher = LoraSwitcher(load_part(WeightsFolder(baked), "transformer", "cpu", torch.float32))
    with pytest.raises(WeightsError, match="it changes nothing in this one"):
        switcher.check(write(tmp_path, patch))


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_file_without_tensors_is_refused(metadata, tmp_path):
    path = tmp_path / "own.safetensors"
    save_file({}, path, metadata)
    with pytest.raises(WeightsError, match=r"LoRA file .* has no tensors"):
        LoraFile(path)


def test_a_patch_embedding_of_other_channels_is_refused(baked, tmp_path):
    model = load_part(WeightsFolder(baked), "transformer", "cpu", torch.float32)
    path = write(tmp_path, {"diffusion_model.patch_embedding.diff": torch.ones(DIM, 20, 1, 2, 2)})
    with pytest.raises(WeightsError, match=r"for another model.*patch_embedding\.weight"):
        LoraSwitcher(model).activate([(path, 1.0)])


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
MALFORMED = {
    "a list": b"[]",
    "a number": b"7",
    "deeply nested": b"[" * 100_000,
    "no JSON": b"{'a': 1}",
    "no UTF-8": b"\xff\xfe",
    "an entry is a number": {"a": 7},
    "an entry is null": {"a": None},
    "no dtype": {"a": {"shape": [1], "data_offsets": [0, 4]}},
    "an unknown dtype": {"a": ENTRY | {"dtype": "C64"}},
    "a dtype is a list": {"a": ENTRY | {"dtype": ["F32"]}},
    "a shape is text": {"a": ENTRY | {"shape": "1"}},
    "a shape has text": {"a": ENTRY | {"shape": ["1"]}},
    "a shape has fractions": {"a": ENTRY | {"shape": [1.0]}},
    "a shape has true": {"a": ENTRY | {"shape": [True]}},
    "negative sides": {"a": ENTRY | {"shape": [-1, -1]}},
    "a huge side": {"a": ENTRY | {"shape": [10**400]}},
    "one offset": {"a": ENTRY | {"data_offsets": [0]}},
    "offsets are text": {"a": ENTRY | {"data_offsets": "04"}},
    "offsets are null": {"a": ENTRY | {"data_offsets": None}},
    "offsets of different kinds": {"a": ENTRY, "b": ENTRY | {"data_offsets": ["4", "8"]}},
    "offsets overlap": {"a": ENTRY, "b": ENTRY},
    "offsets end before the values": {"a": ENTRY | {"data_offsets": [4, 0]}},
    "a name is a lone surrogate": {"\ud800": ENTRY},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_header_is_a_weights_error(name, tmp_path):
    header = MALFORMED[name]
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = tmp_path / "own.safetensors"
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + bytes(4))
    with pytest.raises(WeightsError, match=r"LoRA file .*own\.safetensors cannot be read") as caught:
        LoraFile(path)
    assert caught.value.file == path
    assert len(str(caught.value)) < 400
    str(caught.value).encode()
