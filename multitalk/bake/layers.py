"""A baked folder cut into image layers: numbered folders of at most 5 GB, one COPY each.

``python -m multitalk.bake.layers BAKED_DIR LAYERS_DIR [GIGABYTES]``; needs none of the models' libraries.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ..errors import MultiTalkError, WeightsError

LAYERS = 16  # as many as the Dockerfile copies; bf16 takes 13
LAYER_BYTES = int(5e9)  # registries take 10 GB and ten minutes for one
# Files with the same content have the same time, whenever they were baked.
TIMESTAMP = 1_704_067_200  # 2024-01-01


def pack(sizes: Mapping[str, int], count: int = LAYERS, layer_bytes: int = LAYER_BYTES) -> list[list[str]]:
    """Distribute files over layers: each into the first that it fits, the largest first.

    Args:
        sizes: Bytes by name.
        count: Layers there are; what isn't needed stays empty.
        layer_bytes: Largest layer.

    Raises:
        WeightsError: A file is too large, or all are too many.
    """
    layers: list[list[str]] = [[] for _ in range(count)]
    free = [layer_bytes] * count
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        size = sizes[name]
        fitting = next((number for number in range(count) if size <= free[number]), None)
        if fitting is None:
            raise WeightsError(
                f"{name} with {size / 1e9:.2f} GB fits none of {count} layers of {layer_bytes / 1e9:g} GB: "
                "add layers to the Dockerfile and to multitalk/bake/layers.py."
            )
        layers[fitting].append(name)
        free[fitting] -= size
    return layers


def check_layers(nbytes: int, layer_bytes: int, count: int = LAYERS) -> None:
    """Make sure that so many bytes fit the layers there are.

    Raises:
        WeightsError: They don't.
    """
    if nbytes > count * layer_bytes:
        raise WeightsError(
            f"{count} layers of {layer_bytes / 1e9:g} GB don't hold the baked weights, which take about "
            f"{nbytes / 1e9:.1f} GB: --layer-gb has to be {math.ceil(nbytes / count / 1e8) / 10:g} or more."
        )


def distribute(
    folder: str | Path, target: str | Path, count: int = LAYERS, layer_bytes: int = LAYER_BYTES
) -> list[int]:
    """Move a baked folder's files into numbered folders: ``target/00`` and so on.

    Returns:
        Bytes of each.

    Raises:
        WeightsError: See :func:`pack`.
    """
    source, layers = Path(folder), Path(target)
    sizes = {
        path.relative_to(source).as_posix(): path.stat().st_size
        for path in source.rglob("*")
        if path.is_file()
    }
    packed = pack(sizes, count, layer_bytes)
    for number, names in enumerate(packed):
        layer = layers / f"{number:02d}"
        layer.mkdir(parents=True)
        for name in names:
            (layer / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).rename(layer / name)
        for path in (layer, *layer.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, (TIMESTAMP, TIMESTAMP))
        # a folder's own time changes with what is moved into it, so parents come last
        for path in sorted((layer, *(p for p in layer.rglob("*") if p.is_dir())), reverse=True):
            os.utime(path, (TIMESTAMP, TIMESTAMP))
    return [sum(sizes[name] for name in names) for names in packed]


def main() -> int:
    """The command; returns the exit status."""
    folder, target, *gigabytes = sys.argv[1:]
    try:
        layer_bytes = int(float(gigabytes[0]) * 1e9) if gigabytes else LAYER_BYTES
        used = distribute(folder, target, layer_bytes=layer_bytes)
    except MultiTalkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(", ".join(f"layer {number:02d}: {size / 1e9:.2f} GB" for number, size in enumerate(used) if size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
