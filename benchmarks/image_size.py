"""Bytes of an image's weights and requirements: ``python -m benchmarks.image_size [--precision int8]``.

Weights are computed from the shapes of the published model. Requirements are the files of the locked packages
that are installed in this environment.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPVisionConfig, UMT5Config, Wav2Vec2Config

from multitalk.bake.precision import PRECISIONS
from multitalk.runtime.sizes import LORA_RANK, PUBLISHED
from multitalk.weights.libraries import empty_model, kept_in_float32, quantized_weights, scale_name

REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"
# The published model (docs/MODEL.md); the transformer and the VAE have these sizes as defaults.
CONFIGS: dict[str, dict[str, Any]] = {
    "transformer": {},
    "text_encoder": UMT5Config(
        vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
        feed_forward_proj="gated-gelu",
    ).to_dict(),
    "image_encoder": CLIPVisionConfig(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=31, num_attention_heads=16, patch_size=14,
        hidden_act="gelu",
    ).to_dict(),
    "vae": {},
    "audio_encoder": Wav2Vec2Config().to_dict(),
    "fast_decoder": {"latent_channels": 16, "widths": [256, 128, 64, 64]},
}  # fmt: skip
# the parts that are not in float32 in every precision
CAST = ("transformer", "text_encoder", "image_encoder")


def part_bytes(part: str, config: Mapping[str, Any], dtype: torch.dtype) -> dict[str, int]:
    """Bytes of each tensor that a bake writes for a part."""
    model = empty_model(part, config)
    quantized = quantized_weights(model)
    fixed = quantized.keys() | {scale_name(name) for name in quantized}

    def itemsize(name: str, parameter: torch.Tensor) -> int:
        keeps_dtype = name in fixed or kept_in_float32(model, name, dtype)  # empty models are in float32
        return parameter.itemsize if keeps_dtype else dtype.itemsize

    return {
        name: parameter.numel() * itemsize(name, parameter) for name, parameter in model.named_parameters()
    }


def weights(name: str) -> dict[str, int]:
    """Bytes of each part of a baked folder with MultiTalk and InfiniteTalk."""
    precision = PRECISIONS[name]
    dtype = torch.float32 if precision.dtype == "float32" else torch.bfloat16
    configs = dict(CONFIGS)
    configs["transformer"] = {"quantization": precision.transformer}
    configs["text_encoder"] = {**CONFIGS["text_encoder"], "quantization": precision.text_encoder}
    tensors = {
        part: part_bytes(part, config, dtype if part in CAST else torch.float32)
        for part, config in configs.items()
    }
    audio = sum(size for name, size in tensors["transformer"].items() if "audio" in name)
    sets = {"infinitetalk-single": audio, "infinitetalk-multi": audio}
    return {part: sum(sizes.values()) for part, sizes in tensors.items()} | sets


def loras() -> dict[str, int]:
    """Bytes of the low-rank matrices of the presets' LoRAs, in 16 bits; lightx2v has none for images."""
    image = PUBLISHED.layers * 2 * (2 * PUBLISHED.dim) * LORA_RANK * 2
    return {
        "fast": 2 * PUBLISHED.lora_bytes,
        "fusionx": PUBLISHED.lora_bytes,
        "lightx2v": PUBLISHED.lora_bytes - image,
    }


def requirements(path: Path = REQUIREMENTS) -> dict[str, tuple[int, int]]:
    """Bytes of each locked package that is installed: its files, and its bytecode."""
    sizes = {}
    for name in re.findall(r"^([\w.-]+)==", path.read_text(), re.MULTILINE):
        try:
            files = metadata.distribution(name).files or []
        except metadata.PackageNotFoundError:
            continue  # for another system or version of Python
        paths = [Path(str(file.locate())) for file in files]
        by_kind = [0, 0]
        for file in filter(Path.is_file, paths):
            by_kind[file.suffix == ".pyc"] += file.stat().st_size
        sizes[name] = (by_kind[0], by_kind[1])
    return sizes


def main(arguments: list[str] | None = None) -> int:
    """Print the sizes; returns the exit status."""
    parser = argparse.ArgumentParser(prog="image_size", description=__doc__)
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="int8", help="of weights (int8)")
    options = parser.parse_args(arguments)
    sizes = weights(options.precision) | {f"LoRA {name}": size for name, size in loras().items()}
    packages = requirements()
    sizes["requirements"] = sum(files for files, _ in packages.values())
    sizes["their bytecode"] = sum(bytecode for _, bytecode in packages.values())
    for name, size in (*sizes.items(), ("sum", sum(sizes.values()))):
        print(f"{name:20} {size / 1e9:8.3f} GB")
    print("largest packages:", end=" ")
    largest = sorted(packages, key=lambda name: -sum(packages[name]))[:12]
    print(", ".join(f"{name} {sum(packages[name]) / 1e6:.0f} MB" for name in largest))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
