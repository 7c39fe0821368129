"""The sizes in docs/IMAGE.md are those that a bake writes for the published model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from benchmarks import image_size
from multitalk.bake.bake import bake
from multitalk.weights.folders import PARTS, audio_layers_part
from multitalk.weights.libraries import read_config
from multitalk.weights.store import WeightsFolder

PAGE = Path(__file__).parents[2] / "docs/IMAGE.md"
# by row of the page: the parts that it counts
ROWS = {
    "transformer": ("transformer",),
    "text encoder": ("text_encoder",),
    "image encoder": ("image_encoder",),
    "VAE, fast decoder, audio encoder": ("vae", "fast_decoder", "audio_encoder"),
    "InfiniteTalk's audio layers": ("infinitetalk-single", "infinitetalk-multi"),
}


@pytest.mark.parametrize("precision", ["float32", "bf16", "int8", "fp8"])
def test_a_bake_writes_the_bytes_that_are_counted(precision: str, published: Path, tmp_path: Path) -> None:
    bake(published, tmp_path / "baked", precision=precision)
    folder = WeightsFolder(tmp_path / "baked")
    written = {
        part: {name: info.nbytes for name, info in tensors.items()}
        for part, tensors in folder.manifest.tensors.items()
    }
    for part in PARTS:
        full = part not in image_size.CAST or precision == "float32"
        counted = image_size.part_bytes(
            part, read_config(part, folder.part(part)), torch.float32 if full else torch.bfloat16
        )
        assert counted == written[part], part
        if part == "transformer":
            audio = {name: size for name, size in counted.items() if "audio" in name}
    for name in folder.manifest.audio_layers[1:]:
        layers = written[audio_layers_part(name)]
        assert layers.keys() >= audio.keys()
        assert {key: layers[key] for key in audio} == audio


@pytest.mark.parametrize(("column", "precision"), [(2, "int8"), (3, "bf16"), (4, "fp8")])
def test_the_documented_sizes(column: int, precision: str) -> None:
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("|")]
    documented = {row[1].strip(): row[column].strip() for row in rows if len(row) > column}
    counted = image_size.weights(precision)
    for row, parts in ROWS.items():
        assert documented[row] == f"{sum(counted[part] for part in parts) / 1e9:.2f}", row
    assert documented["LoRA files"] == f"{sum(image_size.loras().values()) / 1e9:.2f}"


def test_a_lora_is_counted_by_its_shapes() -> None:
    sizes = image_size.loras()
    with torch.device("meta"):
        model = image_size.empty_model("transformer", {})
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if re.match(r"blocks\.\d+\.(attn|ffn)", name) and hasattr(layer, "in_features")
    }
    widths = {name: layer.in_features + layer.out_features for name, layer in layers.items()}
    text = sum(width for name, width in widths.items() if ".add_" not in name)
    assert sizes == {
        "fast": sum(widths.values()) * 64 * 2,
        "fusionx": sum(widths.values()) * 32 * 2,
        "lightx2v": text * 32 * 2,
    }


def test_locked_packages_are_counted() -> None:
    sizes = image_size.requirements()
    assert sizes["numpy"][0] > 10e6
    assert "torch" not in sizes
