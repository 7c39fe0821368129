"""Startup time with large weights: ``python -m benchmarks.cold_start --gigabytes 4 --folder DIR``.

Writes a baked folder of random weights at real widths, cut in depth; empties the page cache of it; reads it
from front to back for the disk's own speed; empties the cache again and starts the worker, as containers do.

``--command`` starts another command in place of ``python app.py``, such as a container; it must print the
worker's log, and it is ended by SIGTERM::

    --command "docker run --rm -e MODE=serverless -v DIR:/opt/multitalk/weights:ro IMAGE --rp_serve_api"
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from multitalk.bench import networks
from multitalk.bench.networks import SCALES, Scale
from multitalk.weights.folders import EMBEDDED_FOLDER, MANIFEST, PARTS, all_part_files
from multitalk.weights.libraries import save_config, tied_names, weights_name
from multitalk.weights.manifest import LORA_FOLDER, TOKENIZER_FOLDER, make_manifest

ROOT = Path(__file__).resolve().parents[1]
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "int8": torch.bfloat16}
# Bytes of the real widths, near enough to choose a depth: what is there once, and a layer of every network.
FIXED = {"float32": 1.9e9, "bf16": 1.2e9, "int8": 1.1e9}
PER_LAYER = {"float32": 2.7e9, "bf16": 1.35e9, "int8": 0.7e9}
DEEPEST = 40
BLOCK = 1 << 24
# A start takes at most this many times the reading of the weights, and these seconds more.
READING, SECONDS = 1.3, 5.0


def make_folder(folder: Path, gigabytes: float, precision: str) -> None:
    """Write the weights, unless they are there."""
    if (folder / MANIFEST).is_file():
        return
    depth = round((gigabytes * 1e9 - FIXED[precision]) / PER_LAYER[precision])
    scale = SCALES["real"].cut(min(max(1, depth), DEEPEST))
    shutil.rmtree(folder, ignore_errors=True)
    for part in PARTS:
        write_part(folder / part, part, make_part(part, scale, precision), DTYPES[precision])
    shutil.copytree(EMBEDDED_FOLDER / TOKENIZER_FOLDER, folder / TOKENIZER_FOLDER)
    (folder / LORA_FOLDER).mkdir()
    make_manifest(folder, name="random", default_preset="quality", precision=dict.fromkeys(PARTS, precision))


def make_part(part: str, scale: Scale, precision: str) -> nn.Module:
    dtype = DTYPES[precision]
    match part:
        case "transformer":
            return networks.make_transformer(scale, "cpu", dtype, precision)
        case "text_encoder":
            return networks.make_text_encoder(scale, "cpu", dtype, precision)
        case "image_encoder":
            return networks.make_image_encoder(scale, "cpu", dtype)
        case "vae":
            return networks.make_vae(scale)
    return networks.make_audio_encoder(scale)


def write_part(folder: Path, part: str, model: nn.Module, dtype: torch.dtype) -> None:
    folder.mkdir(parents=True)
    aliases = tied_names(model)
    tensors = {name: value for name, value in model.state_dict().items() if name not in aliases}
    path = folder / f"{weights_name(part)}.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # a container's user reads it
    save_config(part, model, dtype, folder)


def forget(paths: list[Path]) -> None:
    """Empty the page cache of files."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def raw_read(paths: list[Path]) -> float:
    """Seconds of one reader from front to back."""
    forget(paths)
    buffer = bytearray(BLOCK)
    began = time.monotonic()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.monotonic() - began


def start_worker(folder: Path, device: str, command: list[str]) -> dict[str, Any]:
    """Start the worker, wait until it is ready, and end it.

    Returns:
        The event of its log, and as "seconds" the time from the start of the command to the event.
    """
    environment = os.environ | {"MODE": "serverless", "MULTITALK_WEIGHTS": str(folder)}
    if device == "cpu":
        environment |= {"CUDA_VISIBLE_DEVICES": "", "DEVICE": "cpu"}
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as worker:
        assert worker.stdout is not None
        try:
            for line in worker.stdout:
                if line.startswith("{") and (event := json.loads(line))["event"] == "cold_start":
                    return event | {"seconds": time.monotonic() - began}
        finally:
            worker.terminate()
    raise SystemExit("the worker ended before it was ready")


def describe(event: dict[str, Any], size: int, raw: float) -> list[str]:
    imports = [stage for stage in event["stages"] if stage["name"].startswith(("import", "interpreter"))]
    imported = max(stage["start"] + stage["seconds"] for stage in imports)
    after = event["ready_after"] - imported
    lines = [*event["table"], "", f"imports done after {imported:.2f} s, ready {after:.2f} s later"]
    lines.append(f"over bytes / raw read ({raw:.2f} s, {size / raw / 1e9:.2f} GB/s): {after / raw:.2f}")
    target = raw * READING + SECONDS
    lines.append(
        f"from the start of the command: {event['seconds']:.2f} s; at most {target:.2f} s "
        f"(bytes / raw read x {READING} + {SECONDS:g} s): {'met' if event['seconds'] <= target else 'missed'}"
    )
    if peak := event.get("peak_memory"):
        before = event["memory_before_weights"]
        lines.append(
            f"peak memory {peak / 1e9:.2f} GB: {peak / size:.3f} of the weights with everything, "
            f"{(peak - before) / size:.3f} without what the imports took"
        )
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for the weights; kept for the next run")
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--precision", choices=DTYPES, default="float32", help="what a CPU computes in")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--port", type=int, default=8137, help="of python app.py")
    parser.add_argument("--command", help="starts the worker; default: python app.py")
    options = parser.parse_args(arguments)
    worker = [sys.executable, str(ROOT / "app.py"), "--rp_serve_api", "--rp_api_port", str(options.port)]
    command = shlex.split(options.command) if options.command else worker
    make_folder(options.folder, options.gigabytes, options.precision)
    paths = all_part_files(options.folder)
    size = sum(path.stat().st_size for path in paths)
    print(f"torch {torch.__version__}, {size / 1e9:.2f} GB in {options.precision}, to {options.device}")
    raw = min(raw_read(paths) for _ in range(options.repeats))
    for _ in range(options.repeats):
        forget(paths)
        event = start_worker(options.folder, options.device, command)
        print("\n".join(["", *describe(event, size, raw)]), flush=True)
    warm = start_worker(options.folder, options.device, command)
    print(f"\nwarm: {warm['seconds']:.2f} s from the start of the command")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
