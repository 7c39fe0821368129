"""``manifest.json``: the contents of a baked weights folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import WeightsError
from .folders import (
    AUDIO_LAYER_SETS,
    FAST_DECODER,
    MANIFEST,
    PARTS,
    PUBLISHED_INFINITETALK,
    PUBLISHED_MULTITALK,
    PUBLISHED_WAN,
    FileRecord,
    audio_layers_part,
    hash_file,
)
from .tensor_files import TensorInfo, read_header

FORMAT_VERSION = 2
_READABLE = (1, FORMAT_VERSION)  # version 1 has no field for the audio layers: they are MultiTalk's

# Folders beside the parts.
TOKENIZER_FOLDER = "tokenizer"
LORA_FOLDER = "loras"


@dataclass(frozen=True)
class MergedLora:
    """A LoRA merged into the transformer: the file's name and the scale."""

    name: str
    scale: float


@dataclass(frozen=True)
class Manifest:
    """The contents of a baked weights folder.

    Attributes:
        name: For people.
        default_preset: Preset of requests that set none.
        precision: By part: "float32", "bf16" (norms may be float32), "int8" or "fp8" (of linear layers; the
            rest is bf16).
        files: By path in the folder, with forward slashes.
        tensors: By part and name.
        loras: LoRAs merged into the transformer.
        sources: By part: name and size of the published files it was made from.
        created_by: Name and version of this package.
        audio_layers: Names of the sets of audio layers. The first is in the transformer, the others are in
            folders of their own.
    """

    name: str
    default_preset: str
    precision: Mapping[str, str]
    files: Mapping[str, FileRecord]
    tensors: Mapping[str, Mapping[str, TensorInfo]]
    loras: tuple[MergedLora, ...] = ()
    sources: Mapping[str, Any] = field(default_factory=dict)
    created_by: str = f"multitalk {__version__}"
    audio_layers: tuple[str, ...] = AUDIO_LAYER_SETS[:1]

    @property
    def has_fast_decoder(self) -> bool:
        """Whether the folder contains the small decoder."""
        return any(name.startswith(f"{FAST_DECODER}/") for name in self.files)

    @property
    def tensor_folders(self) -> tuple[str, ...]:
        """Folders of weights files: the parts, what is optional, and audio layers outside the transformer."""
        optional = (FAST_DECODER,) if self.has_fast_decoder else ()
        return (*PARTS, *optional, *map(audio_layers_part, self.audio_layers[1:]))

    def write(self, folder: Path) -> None:
        """Write the manifest into a folder."""
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
            WeightsError: It is missing or damaged.
        """
        path = folder / MANIFEST
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            raise WeightsError(_no_manifest(folder)) from None
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path} cannot be read: {error}.") from error
        try:
            if content.pop("format") not in _READABLE:
                raise WeightsError(
                    f"{path} was written by another version of MultiTalk. Bake the weights again."
                )
            content["files"] = {name: FileRecord(**record) for name, record in content["files"].items()}
            content["loras"] = tuple(MergedLora(**lora) for lora in content["loras"])
            if "audio_layers" in content:
                content["audio_layers"] = _audio_layers(content["audio_layers"])
            content["tensors"] = {
                part: {name: _parse(text) for name, text in tensors.items()}
                for part, tensors in content["tensors"].items()
            }
            return cls(**content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path} is damaged. Bake the weights again.") from error


def _describe(info: TensorInfo) -> str:
    """Describe a tensor as text, such as "BF16 5120x5120"."""
    return f"{info.dtype} {'x'.join(map(str, info.shape))}"


def _parse(text: str) -> TensorInfo:
    dtype, _, shape = text.partition(" ")
    return TensorInfo(dtype, tuple(int(size) for size in shape.split("x") if size))


def _audio_layers(names: Any) -> tuple[str, ...]:
    sets = tuple(names)
    if not sets or len(set(sets)) < len(sets) or not set(sets) <= set(AUDIO_LAYER_SETS):
        raise ValueError(f"invalid audio layers {names!r}")
    return sets


def _no_manifest(folder: Path) -> str:
    if not folder.is_dir():
        return (
            f"Weights folder {str(folder)!r} does not exist. Create it with ./download_models.sh, or name "
            "another folder. Without a folder, the demo weights are used."
        )
    if any((folder / name).is_dir() for name in (PUBLISHED_WAN, PUBLISHED_MULTITALK, PUBLISHED_INFINITETALK)):
        return (
            f"Weights folder {folder} contains published weights, which are not baked. "
            f"Run multitalk bake --from {folder} --to BAKED_FOLDER."
        )
    return f"{folder / MANIFEST} is missing: the folder is not a baked weights folder."


def folder_files(folder: Path) -> list[str]:
    """List all files in a folder except the manifest and hidden files, with forward slashes."""
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
    audio_layers: tuple[str, ...] = AUDIO_LAYER_SETS[:1],
) -> Manifest:
    """Create and write the manifest of a folder whose parts are complete.

    Args:
        folder: Parts in the layout of the libraries' ``save_pretrained``.
        name: See :class:`Manifest`, as for the arguments below.
        default_preset: Preset of requests that set none.
        precision: By part.
        loras: LoRAs merged into the transformer.
        sources: By part: name and size of the published files it was made from.
        hashes: Known sha256 of files; the others are computed.
        audio_layers: Sets of audio layers, the transformer's first.
    """
    hashes = hashes or {}
    names = folder_files(folder)
    files = {
        file: FileRecord((folder / file).stat().st_size, hashes.get(file) or hash_file(folder / file))
        for file in names
    }
    manifest = Manifest(
        name=name,
        default_preset=default_preset,
        precision=precision,
        files=files,
        tensors={},
        loras=loras,
        sources=sources or {},
        audio_layers=audio_layers,
    )
    tensors: dict[str, dict[str, TensorInfo]] = {part: {} for part in manifest.tensor_folders}
    for file in names:
        part = file.rpartition("/")[0]
        if part in tensors and file.endswith(".safetensors"):
            tensors[part] |= read_header(folder / file)
    manifest = replace(manifest, tensors=tensors)
    manifest.write(folder)
    return manifest
