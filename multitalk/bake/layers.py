"""Distribute a baked folder over image layers: numbered folders of at most 5 GB, one COPY each.

``python -m multitalk.bake.layers BAKED_DIR LAYERS_DIR [GIGABYTES]``. Does not need torch.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ..errors import MultiTalkError, WeightsError

LAYERS = 18  # COPY instructions in the Dockerfile; bf16 uses 15 of them
LAYER_BYTES = int(5e9)  # registries accept up to 10 GB and ten minutes per layer
TIMESTAMP = (
    1_704_067_200  # 2024-01-01: files with the same content make the same layer, whenever they are baked
)


def pack(sizes: Mapping[str, int], count: int = LAYERS, layer_bytes: int = LAYER_BYTES) -> list[list[str]]:
    """Assign files to layers: the largest first, each to the first layer with enough room.

    Args:
        sizes: Bytes by name.
        count: Number of layers; some may stay empty.
        layer_bytes: Largest layer.

    Raises:
        WeightsError: A file does not fit.
    """
    layers: list[list[str]] = [[] for _ in range(count)]
    free = [layer_bytes] * count
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        size = sizes[name]
        fitting = next((number for number in range(count) if size <= free[number]), None)
        if fitting is None:
            raise WeightsError(
                f"{name} ({size / 1e9:.2f} GB) does not fit into {count} layers of {layer_bytes / 1e9:g} GB. "
                "Add layers to the Dockerfile and to multitalk/bake/layers.py."
            )
        layers[fitting].append(name)
        free[fitting] -= size
    return layers


def check_layers(nbytes: int, layer_bytes: int, count: int = LAYERS) -> None:
    """Check that the layers are large enough for a baked folder.

    Raises:
        WeightsError: They are not.
    """
    if nbytes > count * layer_bytes:
        minimum = math.ceil(nbytes / count / 1e8) / 10
        raise WeightsError(
            f"--layer-gb must be at least {minimum:g}, not {layer_bytes / 1e9:g}: "
            f"{count} layers must hold about {nbytes / 1e9:.1f} GB."
        )


def distribute(
    folder: str | Path, target: str | Path, count: int = LAYERS, layer_bytes: int = LAYER_BYTES
) -> list[int]:
    """Move a baked folder's files into numbered folders: ``target/00`` and so on.

    Returns:
        Bytes in each.

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
        # moving a file into a folder changes the folder's time, so set times last
        for path in (layer, *layer.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, (TIMESTAMP, TIMESTAMP))
    return [sum(sizes[name] for name in names) for names in packed]


def main() -> int:
    """Run the command; return the exit status."""
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
