"""Names of folders and files of the weights. Importing this module does not import torch."""

from __future__ import annotations

from pathlib import Path

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


def part_files(folder: Path, part: str) -> list[Path]:
    """List the weights files of a part, in loading order."""
    return sorted((folder / part).glob("*.safetensors"))


def all_part_files(folder: Path) -> list[Path]:
    """List the weights files of all parts, in loading order."""
    return [path for part in PARTS for path in part_files(folder, part)]
