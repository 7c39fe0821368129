"""Seconds per gigabyte of a push, and of a pull and its unpacking: ``python -m benchmarks.image_pull``.

Builds an image of random int8 weights with Docker Engine, once per compression of its layer, pushes it to a
registry on the loopback device and pulls it into a daemon without images. Needs what the image's tests need.
Processor time is that of the daemons; on a busy machine, only it can be compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import save_file

from tests.image.engine import Engine, missing_tools
from tests.image.network import LoopbackNetwork
from tests.image.registry import ADDRESS, Registry

COMPRESSIONS = {
    "uncompressed": "compression=uncompressed",
    "zstd-1": "compression=zstd,compression-level=1",
    "zstd-3": "compression=zstd,compression-level=3",
    "zstd-6": "compression=zstd,compression-level=6",
    "zstd-9": "compression=zstd,compression-level=9",
    "gzip": "compression=gzip",
}


def write_weights(folder: Path, gigabytes: float) -> None:
    """Write weights as the bake quantizes them: the rows of a normal distribution, in int8."""
    for number in range(max(1, round(gigabytes))):
        rows = torch.randn(round(1e9 * min(gigabytes, 1)) // 5120, 5120)
        scale = rows.abs().amax(dim=1, keepdim=True) / 127
        save_file({"weight": (rows / scale).round().to(torch.int8)}, folder / f"{number}.safetensors")


def processor_seconds(engine: Engine) -> float:
    """Return the processor time of a daemon and of the containerd that it started."""
    daemon = psutil.Process(engine.process.pid)
    return sum(sum(process.cpu_times()[:4]) for process in (daemon, *daemon.children(recursive=True)))


def timed(engine: Engine, size: float, *arguments: str) -> tuple[float, float]:
    """Run docker; return seconds and processor seconds per gigabyte."""
    start, before = time.perf_counter(), processor_seconds(engine)
    engine(*arguments)
    return (time.perf_counter() - start) / size, (processor_seconds(engine) - before) / size


def measure(folder: Path, gigabytes: float) -> dict[str, Any]:
    """Return the size of the layer, and seconds and processor seconds per gigabyte, by compression."""
    context = folder / "context"
    for name in ("context", "builder", "user"):
        (folder / name).mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY *.safetensors /\n")
    results: dict[str, Any] = {}
    with (
        LoopbackNetwork() as network,
        Registry(folder, network) as registry,
        Engine(folder / "builder", network) as builder,
        Engine(folder / "user", network) as user,
    ):
        for name, compression in COMPRESSIONS.items():
            # other weights for each: the builder keeps what it has compressed, at whatever level
            write_weights(context, gigabytes)
            size = sum(path.stat().st_size for path in context.glob("*.safetensors")) / 1e9
            image = f"{ADDRESS}/{name}:1"
            output = (
                f"type=image,name={image},push=true,force-compression=true,oci-mediatypes=true,{compression}"
            )
            push = timed(builder, size, "buildx", "build", "--output", output, str(context))
            pull = timed(user, size, "pull", "--quiet", image)
            user("rmi", "--force", image)
            (layer,) = registry.image(name, "1").layers
            results[name] = {"layer": layer.size / 1e9 / size, "push": push, "pull": pull}
    return results


def main() -> None:
    """Print the measurements as a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1)
    parser.add_argument("--folder", type=Path, required=True, help="a new folder, on the disk to measure")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    if reason := missing_tools():
        parser.error(reason)
    options.folder.mkdir()
    try:
        results = measure(options.folder, options.gigabytes)
    finally:
        shutil.rmtree(options.folder)
    print("per GB of weights: layer GB; build and push, pull: seconds (of the processor)")
    for name, row in results.items():
        push, pull = (f"{seconds:.1f} ({processor:.1f})" for seconds, processor in (row["push"], row["pull"]))
        print(f"{name:13} {row['layer']:.2f}  {push:>14}  {pull:>14}")
    if options.output:
        options.output.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
