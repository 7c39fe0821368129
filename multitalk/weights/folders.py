"""Folders and files of the weights: names, sizes and hashes. Importing this module does not import torch."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "manifest.json"
# The parts of the model, each a folder, in loading order.
PARTS = ("transformer", "text_encoder", "image_encoder", "vae", "audio_encoder")

# The models' audio layers, in the order of preference: a folder's first set is part of its transformer and is
# active after loading. The others are in folders of their own and switched in place.
AUDIO_LAYER_SETS = ("multitalk", "infinitetalk-single", "infinitetalk-multi")
AUDIO_LAYERS_FOLDER = "audio_layers"

ENVIRONMENT_VARIABLE = "MULTITALK_WEIGHTS"
IMAGE_FOLDER = Path("/opt/multitalk/weights")
LOCAL_FOLDER = Path("weights")
# Folders of the published weights, from which a baked folder is made.
PUBLISHED_WAN = "Wan2.1-I2V-14B-480P"
PUBLISHED_MULTITALK = "MeiGen-MultiTalk"
PUBLISHED_INFINITETALK = "InfiniteTalk"
# Kernels compiled for one GPU, stored in a weights folder after the bake and therefore not in its manifest.
COMPILED_FOLDER = "compiled"
EMBEDDED_FOLDER = Path(__file__).resolve().parents[1] / "demo" / "weights"
# The small decoder, which is optional and loaded when a job first needs it.
FAST_DECODER = "fast_decoder"
# Kokoro's files; its folder is optional.
KOKORO_FOLDER = "kokoro"
KOKORO_CONFIG = "config.json"
KOKORO_WEIGHTS = "kokoro-v1_0.pth"
KOKORO_VOICES = "voices"
SPACY_MODEL = "en_core_web_sm"  # spaCy's model, which Kokoro needs for English
# Demucs, which isolates voices; its folder is optional.
SEPARATOR_FOLDER = "voice_separator"
SEPARATOR_WEIGHTS = "htdemucs.safetensors"
VOICES_VARIABLE = "MULTITALK_VOICES"

_CHUNK_BYTES = 1 << 24


def voices_folder() -> Path:
    """Return the folder whose Kokoro is used with weights that have none: that of ``fetch --speech``."""
    if folder := os.environ.get(VOICES_VARIABLE):
        return Path(folder)
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(data) / "multitalk" / "voices"


def audio_layers_part(name: str) -> str:
    """Return the folder of a set of audio layers other than the first, relative to the weights folder."""
    return f"{AUDIO_LAYERS_FOLDER}/{name}"


def has_voice_separator(folder: Path) -> bool:
    """Return whether a weights folder contains the voice separator, and the package demucs is installed."""
    weights = folder / SEPARATOR_FOLDER / SEPARATOR_WEIGHTS
    return weights.is_file() and importlib.util.find_spec("demucs") is not None


def listed_audio_layers(folder: Path) -> tuple[str, ...]:
    """Return the sets of audio layers that a folder's manifest lists; none if it is damaged.

    It does not check the manifest, and does not need torch as :class:`.manifest.Manifest` does.
    """
    try:
        names = json.loads((folder / MANIFEST).read_bytes()).get("audio_layers", AUDIO_LAYER_SETS[:1])
        return tuple(name for name in AUDIO_LAYER_SETS if name in names)
    except (AttributeError, OSError, TypeError, ValueError):
        return ()


def part_files(folder: Path, part: str) -> list[Path]:
    """List the weights files of a part, in loading order."""
    return sorted((folder / part).glob("*.safetensors"))


def all_part_files(folder: Path) -> list[Path]:
    """List the weights files of all parts, in loading order."""
    return [path for part in PARTS for path in part_files(folder, part)]


def audio_layer_files(folder: Path) -> list[Path]:
    """List the weights files of the audio layers that are not in the transformer."""
    return [path for name in AUDIO_LAYER_SETS for path in part_files(folder, audio_layers_part(name))]


@dataclass(frozen=True)
class FileRecord:
    """A file's size in bytes and its sha256."""

    size: int
    sha256: str


def hash_file(path: Path) -> str:
    """Compute the sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:  # hashlib.file_digest needs Python 3.11; --lock works with 3.10
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def missing_kokoro_files(names: Iterable[str]) -> list[str]:
    """List the files of Kokoro that a baked folder lacks.

    Args:
        names: The folder's files, with forward slashes.

    Returns:
        Empty if Kokoro is complete or left out.
    """
    prefix, voices = f"{KOKORO_FOLDER}/", f"{KOKORO_VOICES}/"
    present = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    if not present:
        return []
    missing = [name for name in (KOKORO_CONFIG, KOKORO_WEIGHTS) if name not in present]
    if not any(name.startswith(voices) and name.endswith(".pt") for name in present):
        missing.append(f"{voices}*.pt")
    return [prefix + name for name in missing]
