"""Distributing a baked folder over layers, and finding weights when a container starts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from multitalk.bake.layers import LAYER_BYTES, TIMESTAMP, check_layers, distribute, pack
from multitalk.errors import WeightsError
from multitalk.start.locate import candidates, is_complete, locate

GB = 10**9


def bf16_files() -> dict[str, int]:
    """Approximate files of a bf16 bake."""
    sizes = {
        f"transformer/diffusion_pytorch_model-{n:05d}-of-00008.safetensors": 4_900 * 10**6
        for n in range(1, 8)
    }
    sizes["transformer/diffusion_pytorch_model-00008-of-00008.safetensors"] = 3_700 * 10**6
    sizes |= {f"text_encoder/model-{n:05d}-of-00003.safetensors": 4_000 * 10**6 for n in range(1, 4)}
    layers = "audio_layers/infinitetalk"
    sizes |= {f"{layers}-{name}/model.safetensors": 4_980 * 10**6 for name in ("single", "multi")}
    sizes[f"{layers}-single/model-00002-of-00002.safetensors"] = 500 * 10**6
    sizes |= {"image_encoder/model.safetensors": 1_260 * 10**6, "vae/model.safetensors": 508 * 10**6}
    return sizes | {"audio_encoder/model.safetensors": 380 * 10**6, "manifest.json": 400_000}


def test_no_layer_is_larger_than_five_gigabytes():
    sizes = bf16_files()
    layers = pack(sizes)
    assert sorted(name for layer in layers for name in layer) == sorted(sizes)
    assert all(sum(sizes[name] for name in layer) <= LAYER_BYTES for layer in layers)
    assert len(layers) == 18
    assert sum(bool(layer) for layer in layers) <= 15


def test_files_that_do_not_fit_are_refused():
    with pytest.raises(WeightsError, match="does not fit into 18 layers"):
        pack({"large": 6 * GB})
    with pytest.raises(WeightsError, match="does not fit into 2 layers"):
        pack(dict.fromkeys("abc", 4 * GB), count=2)


def test_the_error_for_small_layers_names_the_size_needed():
    check_layers(int(33.5 * GB), LAYER_BYTES)
    with pytest.raises(
        WeightsError, match=r"--layer-gb must be at least 1\.9, not 1: 18 layers must hold about 33\.5 GB"
    ):
        check_layers(int(33.5 * GB), GB)


def test_same_files_make_the_same_layers(tmp_path):
    trees = []
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "part").mkdir(parents=True)
        for number in range(4):
            (folder / f"part/{number}.safetensors").write_bytes(bytes([number]) * 100)
        (folder / "manifest.json").write_text("{}")
        used = distribute(folder, tmp_path / f"{name}-layers", layer_bytes=220)
        assert sum(used) == 402
        assert not [path for path in folder.rglob("*") if path.is_file()]  # moved, not copied
        root = tmp_path / f"{name}-layers"
        assert [path.name for path in sorted(root.iterdir())] == [f"{number:02d}" for number in range(18)]
        paths = sorted(root.rglob("*"))
        trees.append(
            [(path.relative_to(root), path.stat().st_mode, int(path.stat().st_mtime)) for path in paths]
        )
    assert trees[0] == trees[1]
    assert {time for _, _, time in trees[0]} == {TIMESTAMP}


def make_weights(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "a.safetensors").write_bytes(b"12345")
    (folder / "manifest.json").write_text(json.dumps({"files": {"a.safetensors": {"size": 5}}}))
    return folder


def test_a_folder_is_complete_if_every_file_has_its_size(tmp_path):
    folder = make_weights(tmp_path / "weights")
    assert is_complete(folder)
    (folder / "a.safetensors").write_bytes(b"1234")
    assert not is_complete(folder)
    (folder / "a.safetensors").unlink()
    assert not is_complete(folder)
    for content in ("", "[]", "{}", '{"files": {}}', '{"files": {"a": 1}}'):
        (folder / "manifest.json").write_text(content)
        assert not is_complete(folder)
    assert not is_complete(tmp_path / "nowhere")


def test_weights_are_searched_in_the_image_on_volumes_and_in_the_model_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("MULTITALK_WEIGHTS", raising=False)
    image, volume = tmp_path / "image", tmp_path / "volume"
    assert locate([volume], image) is None
    (volume / "huggingface-cache/hub/models--Wan-AI--Wan2.1/snapshots/abc").mkdir(parents=True)
    assert locate([volume], image) is None  # another model
    cached = make_weights(volume / "huggingface-cache/hub/models--me--multitalk-int8/snapshots/abc")
    assert locate([volume], image) == cached
    kept = make_weights(volume / "multitalk/weights")
    assert locate([volume], image) == kept
    make_weights(image)
    assert locate([volume], image) == image


def test_multitalk_weights_is_the_only_candidate(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTITALK_WEIGHTS", str(tmp_path / "named"))
    assert list(candidates([tmp_path], tmp_path)) == [Path(os.environ["MULTITALK_WEIGHTS"])]
