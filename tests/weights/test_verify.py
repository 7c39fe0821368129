"""Damage to a baked folder is found by `verify` and, except for changed bytes, before loading."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from multitalk.errors import WeightsError
from multitalk.weights.folders import COMPILED_FOLDER, MANIFEST
from multitalk.weights.store import WeightsFolder
from multitalk.weights.verify import check_complete, verify

WEIGHTS = Path("transformer") / "diffusion_pytorch_model.safetensors"


def flip_byte(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1000] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def flip_byte_of_config(folder: Path) -> None:
    path = folder / "vae" / "config.json"
    path.write_text(path.read_text().replace("true", "tru ", 1))


def remove_weights(folder: Path) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()


def remove_tokenizer(folder: Path) -> None:
    (folder / "tokenizer" / "tokenizer.json").unlink()


def truncate(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-4])


def empty(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"")


def change_shape(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["blocks.0.attn1.to_q.weight"] = tensors["blocks.0.attn1.to_q.weight"].reshape(24, 96).clone()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def remove_tensor(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["blocks.0.attn1.to_q.weight"]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def damage_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text()[:200])


def remove_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def add_file(folder: Path) -> None:
    save_file({"x": torch.ones(1)}, folder / "transformer" / "stray.safetensors")


DAMAGES = [
    (flip_byte, WEIGHTS.as_posix(), False),
    (flip_byte_of_config, "vae/config.json", False),
    (remove_weights, "vae/diffusion_pytorch_model.safetensors", True),
    (remove_tokenizer, "tokenizer/tokenizer.json", True),
    (truncate, WEIGHTS.as_posix(), True),
    (empty, WEIGHTS.as_posix(), True),
    (change_shape, "blocks.0.attn1.to_q.weight", True),
    (remove_tensor, "blocks.0.attn1.to_q.weight", True),
    (damage_manifest, MANIFEST, True),
    (remove_manifest, MANIFEST, True),
    (add_file, "transformer/stray.safetensors", False),
]


def test_a_complete_folder_has_no_problems(baked):
    assert verify(baked) == []
    assert check_complete(baked).files


@pytest.mark.parametrize(("damage", "named", "found_before_loading"), DAMAGES)
def test_damage_is_found_and_named(damage, named, found_before_loading, baked, copy_of):
    folder = copy_of(baked)
    damage(folder)
    problems = verify(folder)
    assert any(named in problem for problem in problems), problems
    if found_before_loading:
        with pytest.raises(WeightsError) as error:
            WeightsFolder(folder)
        assert str(folder) in str(error.value)
        assert verify(folder, hashes=False)
    else:
        WeightsFolder(folder)


def test_a_folder_that_is_missing(tmp_path):
    assert "does not exist" in verify(tmp_path / "nowhere")[0]


def test_published_weights_are_recognized(published):
    with pytest.raises(WeightsError, match="multitalk bake --from"):
        WeightsFolder(published)


def test_loras_may_be_added(baked, copy_of):
    folder = copy_of(baked)
    save_file({"x.lora_down.weight": torch.ones(1)}, folder / "loras" / "own.safetensors")
    assert verify(folder) == []


def test_compiled_kernels_may_be_added(baked, copy_of):
    folder = copy_of(baked)
    kernel = folder / COMPILED_FOLDER / "inductor" / "ab" / "kernel.py"
    kernel.parent.mkdir(parents=True)
    kernel.write_text("pass")
    assert verify(folder) == []
    (folder / "compiled.txt").write_text("something else")
    assert verify(folder) == ["compiled.txt is not in the manifest."]
