"""Find a container's weights: a configured folder, the image, a network volume, or RunPod's model cache.

``python -m multitalk.start.locate`` prints the folder and exits with status 1 if there is none. It imports
none of the models' libraries, so that it does not delay the start of the container.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..runtime.environment import read_text
from ..weights.folders import ENVIRONMENT_VARIABLE, IMAGE_FOLDER, MANIFEST

# mount points of a network volume of RunPod: for an endpoint, and for a pod
VOLUMES = (Path("/runpod-volume"), Path("/workspace"))
VOLUME_FOLDER = "multitalk/weights"
MODEL_CACHE = "huggingface-cache/hub"


def candidates(volumes: Iterable[Path] = VOLUMES, image_folder: Path = IMAGE_FOLDER) -> Iterator[Path]:
    """Yield the folders that may hold baked weights, in order of preference.

    A model in RunPod's cache is used if its repository is a baked weights folder.
    """
    if configured := read_text(ENVIRONMENT_VARIABLE):
        yield Path(configured)
        return
    yield image_folder
    volumes = tuple(volumes)
    for volume in volumes:
        yield volume / VOLUME_FOLDER
    for volume in volumes:
        yield from sorted((volume / MODEL_CACHE).glob("models--*/snapshots/*"))


def is_complete(folder: Path) -> bool:
    """Return whether a folder has a manifest and all files of the manifest, in their size."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return bool(files) and all((folder / name).stat().st_size == files[name]["size"] for name in files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def locate(volumes: Iterable[Path] = VOLUMES, image_folder: Path = IMAGE_FOLDER) -> Path | None:
    """Return the first candidate that is complete, or None."""
    return next((folder for folder in candidates(volumes, image_folder) if is_complete(folder)), None)


def main() -> int:
    """Print the folder; return the exit status."""
    folder = locate()
    if folder is None:
        return 1
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
