"""Names of folders and files of the weights. Importing this module does not import torch."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import WeightsError

MANIFEST = "manifest.json"
# The parts of the model, each a folder, in loading order.
PARTS = ("transformer", "text_encoder", "image_encoder", "vae", "audio_encoder")

ENVIRONMENT_VARIABLE = "MULTITALK_WEIGHTS"
IMAGE_FOLDER = Path("/opt/multitalk/weights")
LOCAL_FOLDER = Path("weights")
# Folders of the published weights, from which a baked folder is made.
PUBLISHED_WAN = "Wan2.1-I2V-14B-480P"
PUBLISHED_MULTITALK = "MeiGen-MultiTalk"
# Kernels compiled for one GPU, stored in a weights folder after the bake and therefore not in its manifest.
COMPILED_FOLDER = "compiled"
EMBEDDED_FOLDER = Path(__file__).resolve().parents[1] / "demo" / "weights"


def find_weights(explicit: str | Path | None = None) -> Path:
    """Find the weights folder: named, in the environment, in the image, here, embedded.

    Args:
        explicit: The folder, where a caller names one.

    Raises:
        WeightsError: There is none.
    """
    named = explicit or os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(named)  # what is wrong with it is said when it is opened
    for folder in (IMAGE_FOLDER, LOCAL_FOLDER, EMBEDDED_FOLDER):
        if (folder / MANIFEST).is_file():
            return folder
    raise WeightsError(
        f"No weights are found in {IMAGE_FOLDER} or ./{LOCAL_FOLDER}: name a baked weights folder with "
        f"--weights or {ENVIRONMENT_VARIABLE}, or make one with python -m multitalk bake."
    )


def part_files(folder: Path, part: str) -> list[Path]:
    """List the weights files of a part, in loading order."""
    return sorted((folder / part).glob("*.safetensors"))


def all_part_files(folder: Path) -> list[Path]:
    """List the weights files of all parts, in loading order."""
    return [path for part in PARTS for path in part_files(folder, part)]
