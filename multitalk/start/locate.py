"""Where a container finds its weights: named, in the image, on a volume, or in RunPod's model cache.

``python -m multitalk.start.locate`` prints the folder, and fails where there is none. It needs none of the
models' libraries, so the container's start isn't held up.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..weights.folders import ENVIRONMENT_VARIABLE, IMAGE_FOLDER, MANIFEST

# where RunPod mounts a network volume: of an endpoint, and of a pod
VOLUMES = (Path("/runpod-volume"), Path("/workspace"))
VOLUME_FOLDER = "multitalk/weights"
MODEL_CACHE = "huggingface-cache/hub"


def candidates(volumes: Iterable[Path] = VOLUMES, image_folder: Path = IMAGE_FOLDER) -> Iterator[Path]:
    """Folders that may hold baked weights, the likeliest first.

    A model in RunPod's cache counts where its repository is a baked folder, the result of someone's bake.
    """
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        yield Path(named)
        return
    yield image_folder
    volumes = tuple(volumes)
    for volume in volumes:
        yield volume / VOLUME_FOLDER
    for volume in volumes:
        yield from sorted((volume / MODEL_CACHE).glob("models--*/snapshots/*"))


def is_whole(folder: Path) -> bool:
    """Whether a folder has a manifest and every file that it names, in its size."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return bool(files) and all((folder / name).stat().st_size == files[name]["size"] for name in files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def locate(volumes: Iterable[Path] = VOLUMES, image_folder: Path = IMAGE_FOLDER) -> Path | None:
    """The first candidate that is whole; None where there is none."""
    return next((folder for folder in candidates(volumes, image_folder) if is_whole(folder)), None)


def main() -> int:
    """The command; returns the exit status."""
    folder = locate()
    if folder is None:
        return 1
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
