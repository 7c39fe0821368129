"""Bake: published weights in, a folder that loads fast out.

Everything is planned from the files' headers first, so that what is missing or doesn't fit is known before
anything is written; then tensors pass one at a time: read, LoRAs added, converted, cast or quantized,
written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import InvalidInput, WeightsError
from ..weights.libraries import save_config, weights_name
from ..weights.lora import LoraFile
from ..weights.manifest import LORA_FOLDER, TOKENIZER_FOLDER, Manifest, MergedLora, make_manifest
from ..weights.tensor_files import TensorSource, write_safetensors
from ..weights.verify import verify
from . import published
from .catalogue import LORA_FILES, Selection
from .choices import TransformerSource
from .kokoro import KokoroFiles, find_kokoro
from .precision import Precision, find_precision
from .published import PublishedWeights
from .quantize import planned_tensors
from .steps import PlannedPart, PlannedTensor, plan_parts
from .target import check_space, check_target, new_folder

MAX_SHARD_BYTES = int(5e9)  # what a container registry takes as one layer without trouble
HEADER_BYTES = 2_000_000  # of a shard at most: it names some thousands of tensors

OnProgress = Callable[[str, float], None]


def bake(
    source_dir: str | Path,
    target_dir: str | Path,
    precision: str = "bf16",
    loras: Sequence[tuple[str | Path, float]] = (),
    transformer_source: str | None = None,
    text_encoder_source: str | None = None,
    max_shard_bytes: float = MAX_SHARD_BYTES,
    progress: OnProgress | None = None,
    overwrite: bool = False,
    default_preset: str | None = None,
    name: str | None = None,
    selection: Selection | None = None,
    check: bool = False,
) -> Manifest:
    """Convert published weights into a baked folder; Kokoro and spaCy's model go along where they are.

    The folder appears under its name when it is complete, not before. Memory: about one tensor in float32.

    Args:
        source_dir: Published weights (docs/MODEL.md, section 2).
        target_dir: The new folder.
        precision: "bf16" (the VAE, the audio encoder and the transformer's norms stay in float32), "int8" or
            "fp8" (the same, but for 8 bits in the transformer's blocks and the text encoder), or "float32".
        loras: To merge into the transformer, with their scales: a preset's name, or a file.
        transformer_source: "published", "int8" or "int8-fusionx"; None takes what is there.
        text_encoder_source: "published" or "int8"; None takes what is there.
        max_shard_bytes: Largest weights file, unless one tensor is larger.
        progress: Called with a part's name and the fraction of everything that is done.
        overwrite: Replace a baked folder that is there.
        default_preset: What a request without a preset runs with; None: that of the merged LoRA, or quality.
        name: Of these weights, for people.
        selection: The published files to read; None takes what is there.
        check: Read everything back and compare it, before the folder gets its name.

    Raises:
        InvalidInput: An argument can't be used.
        WeightsError: A published file is missing, damaged or doesn't fit; or what is read back differs.
    """
    weights, target = PublishedWeights(source_dir, selection), Path(target_dir)
    chosen = find_precision(precision)
    check_target(target, weights.root, overwrite)
    planned = _plan(weights, chosen, loras, transformer_source, text_encoder_source)
    check_space(target, planned.nbytes)
    with new_folder(target) as working:
        manifest = make_manifest(
            working,
            name=name or f"MultiTalk, {precision}",
            default_preset=default_preset or _preset_of(planned.merged),
            precision={part.name: part.precision for part in planned.parts},
            loras=planned.merged,
            hashes=planned.write(working, int(max_shard_bytes), progress),
            sources=planned.sources,
        )
        if check and (problems := verify(working)):
            raise WeightsError(f"The baked weights aren't what was written: {problems[0]}")
    if progress is not None:
        progress("done", 1.0)
    return manifest


@dataclass(frozen=True)
class _Planned:
    """What a bake will do, known before anything is written.

    Attributes:
        weights: The published files.
        parts: The model's parts.
        merged: LoRAs in the transformer.
        kokoro: Speech, where it is.
    """

    weights: PublishedWeights
    parts: list[PlannedPart]
    merged: tuple[MergedLora, ...]
    kokoro: KokoroFiles | None

    @property
    def nbytes(self) -> int:
        """Bytes of what will be written."""
        speech = self.kokoro.nbytes if self.kokoro is not None else 0
        return sum(part.nbytes for part in self.parts) + speech

    @property
    def sources(self) -> dict[str, Any]:
        """By part: the published files it is made from."""
        root = self.weights.root
        sources: dict[str, Any] = {part.name: _describe_source(part.source, root) for part in self.parts}
        return sources | (self.kokoro.sources(root) if self.kokoro is not None else {})

    def write(self, folder: Path, max_shard_bytes: int, progress: OnProgress | None) -> dict[str, str]:
        """Write everything but the manifest; returns the sha256 of each weights file."""
        hashes = _write_parts(self.parts, folder, max_shard_bytes, progress)
        _copy_files(self.weights, folder)
        if self.kokoro is not None:
            self.kokoro.copy(folder)
        return hashes


def _plan(
    weights: PublishedWeights,
    precision: Precision,
    loras: Sequence[tuple[str | Path, float]],
    transformer_source: str | None,
    text_encoder_source: str | None,
) -> _Planned:
    kind = weights.transformer_source_kind(transformer_source)
    text_kind = weights.text_encoder_source_kind(text_encoder_source)
    files = [LoraFile(_find_lora(weights, lora), scale) for lora, scale in loras]
    merged = _merged(files, kind)
    parts = plan_parts(weights, precision, kind, text_kind, files)
    return _Planned(weights, parts, merged, find_kokoro(weights))


def _find_lora(weights: PublishedWeights, lora: str | Path) -> Path:
    """The file of a preset's LoRA, of a name in the published folder, or of a path."""
    name = LORA_FILES.get(str(lora), str(lora))
    for path in (Path(name), weights.root / name, weights.root / f"{name}.safetensors"):
        if path.is_file():
            return path
    raise WeightsError(
        f"LoRA '{lora}' is missing: {weights.root / name} isn't there "
        f"(a LoRA is a file, or one of {', '.join(LORA_FILES)})."
    )


def _merged(files: Sequence[LoraFile], kind: TransformerSource) -> tuple[MergedLora, ...]:
    """The LoRAs that the baked transformer will have in it."""
    merged = tuple(MergedLora(file.path.name, file.scale) for file in files)
    if kind != "int8-fusionx":
        return merged
    fusionx = LORA_FILES["fusionx"]
    if any(lora.name == fusionx for lora in merged):
        raise InvalidInput("The int8-fusionx file has the FusionX LoRA in it already.", "loras")
    return (MergedLora(fusionx, 1.0), *merged)


def _preset_of(merged: Sequence[MergedLora]) -> str:
    """The preset that a merged LoRA belongs to."""
    names = {lora.name for lora in merged}
    return next((preset for preset, file in LORA_FILES.items() if file in names), "quality")


def _write_parts(
    parts: list[PlannedPart], folder: Path, max_shard_bytes: int, progress: OnProgress | None
) -> dict[str, str]:
    """Write every part; returns the sha256 of each weights file."""
    total, done = sum(part.nbytes for part in parts), 0
    hashes: dict[str, str] = {}
    for part in parts:
        part_folder = folder / part.name
        part_folder.mkdir()
        save_config(part.name, part.model, part.dtype, part_folder)
        shards = _pack(part.units, max_shard_bytes)
        names = _shard_names(weights_name(part.name), len(shards))
        for file_name, units in zip(names, shards, strict=True):
            infos = {name: info for unit in units for name, info in unit.stored}

            def report(fraction: float, part: PlannedPart = part) -> None:
                if progress is not None:
                    progress(part.name, fraction)

            tensors = _stream(part, units, done, total, report)
            hashes[f"{part.name}/{file_name}"] = write_safetensors(part_folder / file_name, infos, tensors)
            done += sum(unit.nbytes for unit in units)
        if len(shards) > 1:
            _write_index(part_folder / f"{weights_name(part.name)}.safetensors.index.json", names, shards)
    return hashes


def _pack(units: Sequence[PlannedTensor], max_bytes: int) -> list[list[PlannedTensor]]:
    """Cut a part into shards, in the order its tensors are read; their headers have room in `max_bytes`."""
    max_bytes -= min(HEADER_BYTES, max_bytes // 100)
    shards: list[list[PlannedTensor]] = []
    size = 0
    for unit in units:
        if not shards or size + unit.nbytes > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(unit)
        size += unit.nbytes
    # wider dtypes first: no tensor then lies at an address its dtype can't be read from
    return [sorted(shard, key=lambda unit: -unit.itemsize) for shard in shards]


def _shard_names(stem: str, count: int) -> list[str]:
    if count == 1:
        return [f"{stem}.safetensors"]
    return [f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _stream(
    part: PlannedPart, units: Sequence[PlannedTensor], done: int, total: int, report: Callable[[float], None]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a shard, one at a time."""
    for unit in units:
        yield from planned_tensors(part, unit)
        done += unit.nbytes
        report(done / total)


def _write_index(path: Path, names: Sequence[str], shards: Sequence[Sequence[PlannedTensor]]) -> None:
    stored = [
        (file, *entry) for file, units in zip(names, shards, strict=True) for u in units for entry in u.stored
    ]
    index = {
        "metadata": {"total_size": sum(info.nbytes for _, _, info in stored)},
        "weight_map": {name: file for file, name, _ in stored},
    }
    path.write_text(json.dumps(index, indent=1) + "\n")


def _copy_files(weights: PublishedWeights, folder: Path) -> None:
    """Copy what isn't converted: tokenizer, feature extractor, LoRA files."""
    tokenizer = folder / TOKENIZER_FOLDER
    tokenizer.mkdir()
    for path in sorted(weights.path(published.TOKENIZER).iterdir()):
        if path.is_file() and not path.name.startswith("."):
            shutil.copyfile(path, tokenizer / path.name)
    extractor = weights.path(published.FEATURE_EXTRACTOR_CONFIG)
    shutil.copyfile(extractor, folder / "audio_encoder" / extractor.name)
    loras = folder / LORA_FOLDER
    loras.mkdir()
    for path in weights.lora_files():
        shutil.copyfile(path, loras / path.name)


def _describe_source(source: TensorSource, root: Path) -> list[dict[str, Any]]:
    return [
        {"file": path.relative_to(root).as_posix(), "size": path.stat().st_size} for path in source.files()
    ]
