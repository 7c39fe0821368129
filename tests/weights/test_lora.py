"""LoRA files: merging, and files that are refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from multitalk.bake.bake import bake
from multitalk.errors import WeightsError
from multitalk.weights.lora import LoraFile, merge
from multitalk.weights.lora_switch import LoraSwitcher
from multitalk.weights.store import WeightsFolder, load_part
from tests.small_checkpoint import FUSIONX, LIGHTX2V, Sizes

KEY = "blocks.0.self_attn.q.weight"
BIAS = "blocks.0.self_attn.q.bias"
MODULE = "diffusion_model.blocks.0.self_attn.q"
DIM = Sizes().dim


@pytest.fixture
def matrices():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(4, DIM, generator=generator), torch.randn(DIM, 4, generator=generator)


@pytest.fixture
def write(tmp_path):
    def write_file(tensors, name="lora.safetensors"):
        save_file(tensors, tmp_path / name)
        return tmp_path / name

    return write_file


@pytest.mark.parametrize(
    ("down_name", "up_name"),
    [
        ("lora_down.weight", "lora_up.weight"),
        ("lora_A.weight", "lora_B.weight"),
        ("lora_A.default.weight", "lora_B.default.weight"),
    ],
)
def test_two_matrices_and_a_scale(down_name, up_name, matrices, write):
    down, up = matrices
    lora = LoraFile(write({f"{MODULE}.{down_name}": down, f"{MODULE}.{up_name}": up}), 0.7)
    base = torch.ones(DIM, DIM)
    torch.testing.assert_close(merge(KEY, base, [lora]), base + 0.7 * up @ down)
    assert torch.equal(base, torch.ones(DIM, DIM))


def test_alpha_over_rank_scales_the_matrices(matrices, write):
    down, up = matrices
    tensors = {f"{MODULE}.lora_down.weight": down, f"{MODULE}.lora_up.weight": up}
    path = write(tensors | {f"{MODULE}.alpha": torch.tensor(8.0)})
    torch.testing.assert_close(LoraFile(path, 0.5).delta(KEY, (DIM, DIM)), 0.5 * (8 / 4) * up @ down)


def test_whole_differences_of_weights_and_biases(write):
    lora = LoraFile(
        write(
            {
                "diffusion_model.blocks.0.norm3.diff": torch.full((DIM,), 2.0),
                f"{MODULE}.diff_b": torch.full((DIM,), 3.0),
            }
        ),
        0.5,
    )
    assert set(lora.changed) == {"blocks.0.norm3.weight", BIAS}
    assert torch.equal(lora.delta("blocks.0.norm3.weight", (DIM,)), torch.full((DIM,), 1.0))
    assert torch.equal(lora.delta(BIAS, (DIM,)), torch.full((DIM,), 1.5))


def test_matrices_of_a_convolution(write):
    down, up = torch.randn(4, 36, 1, 2, 2), torch.randn(DIM, 4, 1, 1, 1)
    module = "diffusion_model.patch_embedding"
    lora = LoraFile(write({f"{module}.lora_down.weight": down, f"{module}.lora_up.weight": up}))
    delta = lora.delta("patch_embedding.weight", (DIM, 36, 1, 2, 2))
    torch.testing.assert_close(delta, torch.einsum("or,rcthw->octhw", up[:, :, 0, 0, 0], down))


def test_several_files_add_up(matrices, write):
    down, up = matrices
    tensors = {f"{MODULE}.lora_down.weight": down, f"{MODULE}.lora_up.weight": up}
    loras = [LoraFile(write(tensors), 1.0), LoraFile(write({f"{MODULE}.diff_b": torch.ones(DIM)}, "b"), 2.0)]
    base = torch.zeros(DIM, DIM)
    torch.testing.assert_close(merge(KEY, base, [*loras, loras[0]]), 2 * up @ down)
    assert merge("blocks.0.self_attn.k.weight", base, loras) is base


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"diffusion_model.blocks.0.self_attn.q.magnitude": torch.ones(3)}, "magnitude"),
        ({f"{MODULE}.lora_down.weight": torch.ones(4, DIM)}, "lora_down"),
        ({f"{MODULE}.alpha": torch.ones(())}, "alpha"),
    ],
)
def test_unknown_tensors_are_refused_when_read(tensors, named, write):
    with pytest.raises(WeightsError, match=named):
        LoraFile(write(tensors))


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"diffusion_model.blocks.9.norm3.diff": torch.ones(DIM)}, r"blocks\.9\.norm3\.weight"),
        ({"lora_unet_norm.diff_b": torch.ones(DIM)}, r"lora_unet_norm\.bias"),
        ({"diffusion_model.blocks.0.norm3.diff": torch.ones(DIM + 1)}, r"blocks\.0\.norm3\.weight"),
        (
            # as many values, but transposed
            {
                "diffusion_model.blocks.0.ffn.0.lora_down.weight": torch.ones(4, Sizes().ffn_dim),
                "diffusion_model.blocks.0.ffn.0.lora_up.weight": torch.ones(DIM, 4),
            },
            r"blocks\.0\.ffn\.0\.weight",
        ),
        *(
            ({f"{MODULE}.lora_down.weight": down, f"{MODULE}.lora_up.weight": up, **more}, "self_attn")
            for down, up, more in (
                (torch.ones(()), torch.ones(()), {}),
                (torch.ones(0, DIM), torch.ones(DIM, 0), {}),
                (torch.ones(4, DIM), torch.ones(DIM, 4), {f"{MODULE}.alpha": torch.ones(2)}),
            )
        ),
    ],
)
def test_tensors_that_the_model_does_not_have_are_reported(tensors, named, write, published, baked, tmp_path):
    path = write(tensors)
    with pytest.raises(WeightsError, match=named) as at_bake:
        bake(published, tmp_path / "target", precision="float32", loras=[(path, 1.0)])
    assert "lora.safetensors" in str(at_bake.value)
    folder = WeightsFolder(baked)
    model = load_part(folder, "transformer", "cpu", torch.float32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    switcher = LoraSwitcher(model)
    with pytest.raises(WeightsError, match=named):
        switcher.activate([(path, 1.0)])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert switcher.active == ()


def test_a_missing_lora(published, tmp_path):
    with pytest.raises(WeightsError, match=r"LoRA 'turbo' is missing.*fusionx, lightx2v"):
        bake(published, tmp_path / "target", loras=[("turbo", 1.0)])


def test_a_text_to_video_lora_may_lack_the_image_keys(published):
    keys = load_file(published / LIGHTX2V)
    assert not any("_img" in key for key in keys)
    assert any("_img" in key for key in load_file(published / FUSIONX))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"__metadata__": 5}, "its metadata is not a JSON object of texts"),
        ({"__metadata__": {"a": 1}}, "its metadata is not a JSON object of texts"),
        ({f"{number:0100}": number for number in range(100_000)}, "its header is invalid"),
    ],
    ids=["number", "number in it", "longer than any"],
)
def test_headers_that_are_refused(header, words, tmp_path):
    content = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(content).to_bytes(8, "little") + content)
    with pytest.raises(WeightsError, match=f"LoRA file .* {words}"):
        LoraFile(path)


def test_names_in_errors_are_one_line(tmp_path):
    save_file({"a\n\u202eb.lora_down.weight": torch.zeros(1, 1)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"such as a\?\?b\.lora_down"):
        LoraFile(tmp_path / "x.safetensors")
