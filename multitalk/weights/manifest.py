"""``manifest.json``: what a baked weights folder holds, and how to tell that it is all there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import WeightsError
from .files import FileRecord, hash_file
from .folders import MANIFEST, PARTS
from .tensor_files import TensorInfo, read_header

FORMAT_VERSION = 1

# Beside the parts lie the tokenizer, the LoRA files and maybe Kokoro's.
TOKENIZER_FOLDER = "tokenizer"
LORA_FOLDER = "loras"


@dataclass(frozen=True)
class MergedLora:
    """A LoRA that was merged into the transformer: the file's name, and the scale."""

    name: str
    scale: float


@dataclass(frozen=True)
class Manifest:
    """What a baked weights folder holds.

    Attributes:
        name: For people.
        default_preset: The preset these weights are best at.
        precision: By part: "float32", "bf16" (its norms may be kept in float32), "int8" or "fp8" (its linear
            layers; the rest is as in bf16).
        files: By path inside the folder, with forward slashes.
        tensors: By part and name.
        loras: LoRAs merged into the transformer.
        sources: By part: the published files it was made from.
        created_by: The program's name and version.
    """

    name: str
    default_preset: str
    precision: Mapping[str, str]
    files: Mapping[str, FileRecord]
    tensors: Mapping[str, Mapping[str, TensorInfo]]
    loras: tuple[MergedLora, ...] = ()
    sources: Mapping[str, Any] = field(default_factory=dict)
    created_by: str = f"multitalk {__version__}"

    def write(self, folder: Path) -> None:
        """Write it into the folder."""
        content = {"format": FORMAT_VERSION, **asdict(self)}
        content["tensors"] = {
            part: {name: _describe(info) for name, info in tensors.items()}
            for part, tensors in self.tensors.items()
        }
        (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a folder.

        Raises:
            WeightsError: There is none, or it can't be read.
        """
        path = folder / MANIFEST
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            raise WeightsError(_no_manifest(folder)) from None
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path} can't be read: {error}.") from error
        try:
            if content.pop("format") != FORMAT_VERSION:
                raise WeightsError(f"{path} was written by another version of this program: bake again.")
            content["files"] = {name: FileRecord(**record) for name, record in content["files"].items()}
            content["loras"] = tuple(MergedLora(**lora) for lora in content["loras"])
            content["tensors"] = {
                part: {name: _parse(text) for name, text in tensors.items()}
                for part, tensors in content["tensors"].items()
            }
            return cls(**content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path} is damaged: bake again.") from error


def _describe(info: TensorInfo) -> str:
    """A tensor in one short line: "BF16 5120x5120"."""
    return f"{info.dtype} {'x'.join(map(str, info.shape))}"


def _parse(text: str) -> TensorInfo:
    dtype, _, shape = text.partition(" ")
    return TensorInfo(dtype, tuple(int(size) for size in shape.split("x") if size))


def _no_manifest(folder: Path) -> str:
    if not folder.is_dir():
        return f"The weights folder {folder} doesn't exist."
    if any((folder / name).is_dir() for name in ("Wan2.1-I2V-14B-480P", "MeiGen-MultiTalk")):
        return (
            f"{folder} holds the published weights, which have to be baked first: "
            f"python -m multitalk bake --from {folder} --to BAKED_FOLDER."
        )
    return f"{folder / MANIFEST} is missing: this is no baked weights folder, or its bake was interrupted."


def folder_files(folder: Path) -> list[str]:
    """Every file below a folder but the manifest and hidden ones, with forward slashes."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = (path for path in paths if not any(part.startswith(".") for part in path.parts))
    return sorted(name for name in (path.as_posix() for path in visible) if name != MANIFEST)


def make_manifest(
    folder: Path,
    name: str,
    default_preset: str,
    precision: Mapping[str, str],
    loras: tuple[MergedLora, ...] = (),
    sources: Mapping[str, Any] | None = None,
    hashes: Mapping[str, str] | None = None,
) -> Manifest:
    """Describe a folder whose parts are complete, and write its manifest.

    Args:
        folder: Parts as the libraries' own ``save_pretrained`` would write them.
        name: For people.
        default_preset: The preset these weights are best at.
        precision: By part.
        loras: LoRAs merged into the transformer.
        sources: By part: the published files it was made from.
        hashes: Sha256 of files where it is known; the others are read.
    """
    hashes = hashes or {}
    names = folder_files(folder)
    files = {
        file: FileRecord((folder / file).stat().st_size, hashes.get(file) or hash_file(folder / file))
        for file in names
    }
    tensors: dict[str, dict[str, TensorInfo]] = {part: {} for part in PARTS}
    for file in names:
        part = file.split("/")[0]
        if part in tensors and file.endswith(".safetensors"):
            tensors[part] |= read_header(folder / file)
    manifest = Manifest(
        name=name,
        default_preset=default_preset,
        precision=precision,
        files=files,
        tensors=tensors,
        loras=loras,
        sources=sources or {},
    )
    manifest.write(folder)
    return manifest
