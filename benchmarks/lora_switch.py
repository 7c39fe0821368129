"""Measure switching a LoRA in a full-size transformer: ``python -m benchmarks.lora_switch``.

The LoRA has rank 32 for every layer of Wan's blocks, in float16, with differences of norms and biases. On a
CPU the transformer's matrices stay on the meta device: switching does not read them.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from multitalk.models.transformer import MultiTalkTransformer
from multitalk.weights.lora_switch import LoraSwitcher
from multitalk.weights.renames import TRANSFORMER

from .switching import published_transformer, switching_parser

RANK = 32


def make_lora(transformer: MultiTalkTransformer, path: Path) -> None:
    """Write a LoRA for all of Wan's layers in the blocks, with published names."""
    published = {new: old for old, new in TRANSFORMER.block_names.items() if isinstance(new, str)}
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in transformer.blocks.named_parameters():
        block, _, rest = name.partition(".")
        layer, _, leaf = rest.rpartition(".")
        if layer not in published or leaf == "scale" or "audio" in layer:
            continue
        key = f"diffusion_model.blocks.{block}.{published[layer]}"
        if parameter.ndim == 2:
            tensors[f"{key}.lora_down.weight"] = torch.zeros(RANK, parameter.shape[1], dtype=torch.float16)
            tensors[f"{key}.lora_up.weight"] = torch.zeros(parameter.shape[0], RANK, dtype=torch.float16)
        else:
            tensors[f"{key}.diff{'_b' * (leaf == 'bias')}"] = torch.zeros(
                parameter.shape, dtype=torch.float16
            )
    tensors = {key: tensor for key, tensor in tensors.items() if ".norm" not in key or "diff_b" not in key}
    save_file(tensors, path)


def main(arguments: list[str] | None = None) -> int:
    """Print the seconds; returns the exit status."""
    options = switching_parser("lora_switch", __doc__, switches=6).parse_args(arguments)
    device = torch.device(options.device)
    transformer = published_transformer(options.precision)
    if device.type != "cpu":
        transformer = transformer.to_empty(device=device)
    for module in transformer.modules():  # switching writes to these
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.is_meta and parameter.ndim == 1:
                setattr(module, name, torch.nn.Parameter(torch.zeros_like(parameter, device=device), False))
    switcher = LoraSwitcher(transformer, device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lora.safetensors"
        make_lora(transformer, path)
        size = path.stat().st_size
        print(f"{options.precision}, {device}, LoRA of rank {RANK}: {size / 1e9:.2f} GB")
        for number in range(options.switches):
            started = time.perf_counter()
            switcher.activate([] if number % 2 else [(path, 1.0 + number)])
            if device.type == "cuda":
                torch.cuda.synchronize()
            what = "off" if number % 2 else "on"
            print(f"switched {what}: {time.perf_counter() - started:.3f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
