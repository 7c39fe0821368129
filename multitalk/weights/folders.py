"""Where a baked weights folder lies and what its parts are called; needs no torch, so it is known at once."""

from __future__ import annotations

from pathlib import Path

MANIFEST = "manifest.json"
# The parts of the model, each a folder, in the order in which they are loaded.
PARTS = ("transformer", "text_encoder", "image_encoder", "vae", "audio_encoder")

ENVIRONMENT_VARIABLE = "MULTITALK_WEIGHTS"
IMAGE_FOLDER = Path("/opt/multitalk/weights")
LOCAL_FOLDER = Path("weights")
# Kernels in a weights folder, compiled for one GPU: they come after the bake, so no manifest names them.
COMPILED_FOLDER = "compiled"
EMBEDDED_FOLDER = Path(__file__).resolve().parents[1] / "demo" / "weights"


def part_files(folder: Path, part: str) -> list[Path]:
    """The weights files of a part, in the order in which they are read."""
    return sorted((folder / part).glob("*.safetensors"))


def all_part_files(folder: Path) -> list[Path]:
    """The weights files of every part, in the order in which they are read."""
    return [path for part in PARTS for path in part_files(folder, part)]
