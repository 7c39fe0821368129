"""Measure switching audio layers in a full-size transformer: ``python -m benchmarks.audio_layers``.

Writes three sets of audio layers with random values, 2.6 GB each in int8, and switches between them; the
files are then in the page cache. On a CPU the other matrices of the transformer stay on the meta device:
switching does not touch them. On a GPU, `--streamed` blocks are in host memory.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch

from multitalk.models.transformer import MultiTalkTransformer
from multitalk.runtime.placement import Placement
from multitalk.runtime.plan import HardwarePlan
from multitalk.weights.audio_layers import AudioLayerSwitcher
from multitalk.weights.folders import AUDIO_LAYER_SETS, audio_layers_part
from multitalk.weights.lora_switch import LoraSwitcher
from multitalk.weights.store import WeightsFolder
from multitalk.weights.tensor_files import TensorInfo, write_safetensors

from .switching import published_transformer, switching_parser

SHARD_BYTES = 5e9


def audio_tensors(transformer: MultiTalkTransformer) -> dict[str, torch.Tensor]:
    """Return the parameters of the audio layers by name."""
    return {
        name: parameter
        for name, parameter in transformer.named_parameters()
        if "audio_attn." in name or "norm_audio." in name or name.startswith("audio_projection.")
    }


def write_set(folder: Path, tensors: dict[str, torch.Tensor], seed: int) -> list[Path]:
    """Write random values for tensors, in shards; return the files."""
    generator = torch.Generator().manual_seed(seed)

    def values(shard: dict[str, torch.Tensor]) -> Any:
        for name, tensor in shard.items():
            raw = torch.randint(0, 50, tensor.shape, dtype=torch.uint8, generator=generator)
            yield name, raw.to(tensor.dtype)

    shards: list[dict[str, torch.Tensor]] = []
    size = float("inf")
    for name, tensor in tensors.items():
        if size + tensor.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    folder.mkdir(parents=True)
    paths = []
    for number, shard in enumerate(shards):
        ordered = dict(sorted(shard.items(), key=lambda item: -item[1].itemsize))
        paths.append(folder / f"model-{number}.safetensors")
        infos = {name: TensorInfo.of(tensor.to("meta")) for name, tensor in ordered.items()}
        write_safetensors(paths[-1], infos, values(ordered))
    return paths


def main(arguments: list[str] | None = None) -> int:
    """Print the seconds; returns the exit status."""
    parser = switching_parser("audio_layers", __doc__, switches=9)
    parser.add_argument("--streamed", type=int, default=0, help="blocks in host memory; needs a GPU")
    parser.add_argument("--folder", type=Path, help="for the files; a temporary folder by default")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    transformer = published_transformer(options.precision)
    if device.type != "cpu":
        transformer = transformer.to_empty(device="cpu" if options.streamed else device)
        plan = HardwarePlan(device, torch.bfloat16, "native", streamed_blocks=options.streamed)
        Placement(transformer, {}, plan)
    else:
        for name in audio_tensors(transformer):
            owner, _, leaf = name.rpartition(".")
            module = transformer.get_submodule(owner)
            values = torch.empty_like(getattr(module, leaf), device="cpu")
            setattr(module, leaf, torch.nn.Parameter(values, requires_grad=False))
    tensors = audio_tensors(transformer)
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        parts = ("transformer", *map(audio_layers_part, AUDIO_LAYER_SETS[1:]))
        files = {part: write_set(Path(root) / part, tensors, seed) for seed, part in enumerate(parts)}
        manifest = SimpleNamespace(audio_layers=AUDIO_LAYER_SETS, tensors=dict.fromkeys(parts, tensors))
        folder = cast(WeightsFolder, SimpleNamespace(manifest=manifest, weights_files=files.__getitem__))
        switcher = AudioLayerSwitcher(transformer, folder, LoraSwitcher(transformer, device))
        size = sum(tensor.nbytes for tensor in tensors.values()) / 1e9
        place = f"{device}, {options.streamed} blocks streamed" if options.streamed else str(device)
        print(f"{options.precision}, {place}: {len(tensors)} tensors, {size:.2f} GB")
        for number in range(options.switches):
            name = AUDIO_LAYER_SETS[(number + 1) % len(AUDIO_LAYER_SETS)]
            started, computed = time.perf_counter(), time.process_time()
            switcher.use(name)
            if device.type == "cuda":
                torch.cuda.synchronize()
            elapsed, processor = time.perf_counter() - started, time.process_time() - computed
            print(f"{name:<20}{elapsed:8.3f} s, {processor:.3f} s of processor time", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
