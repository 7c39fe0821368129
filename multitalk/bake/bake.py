"""Bake: convert published weights into a folder that loads fast.

All steps are prepared from the headers of the files, so that errors show before anything is written. Tensors
are then converted one at a time: read, add LoRAs, rename, cast or quantize, write.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import InvalidInput, WeightsError
from ..weights.folders import FAST_DECODER, KOKORO_FOLDER, PARTS, SEPARATOR_FOLDER, SEPARATOR_WEIGHTS
from ..weights.libraries import save_config, weights_name
from ..weights.lora import LoraFile
from ..weights.manifest import LORA_FOLDER, TOKENIZER_FOLDER, Manifest, MergedLora, make_manifest
from ..weights.tensor_files import write_safetensors
from ..weights.verify import verify
from . import catalogue
from .audio_layers import LayeredSource, audio_layer_sets, find_models
from .catalogue import LORA_FILES
from .kokoro import KokoroFiles, find_kokoro
from .precision import PRECISIONS
from .published import PublishedWeights
from .quantize import run_step
from .selection import Selection, check_choice
from .steps import PartSteps, TensorStep, prepare_parts
from .target import check_space, check_target, new_folder

logger = logging.getLogger(__name__)

MAX_SHARD_BYTES = int(5e9)  # container registries accept this as one layer
_NAMES = {"multitalk": "MultiTalk", "infinitetalk": "InfiniteTalk"}
HEADER_BYTES = 2_000_000  # upper bound of a shard's header, which names some thousands of tensors

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
    models: Sequence[str] | None = None,
) -> Manifest:
    """Convert published weights into a baked folder, with Kokoro and spaCy's model if they exist.

    The folder gets its name when it is complete. A bake needs memory for about one tensor in float32.

    Args:
        source_dir: Published weights (docs/MODEL.md, section 2).
        target_dir: The new folder.
        precision: "bf16" (with the VAE, the audio encoder and the transformer's norms in float32), "int8" or
            "fp8" (like bf16, with 8 bits in the transformer's blocks and the text encoder), or "float32".
        loras: LoRAs to merge into the transformer, with their scales: the name of a preset, or a file.
        transformer_source: "published", "int8", "int8-fusionx" or "fp8"; None: any that exists.
        text_encoder_source: "published", "int8" or "fp8"; None: any that exists.
        max_shard_bytes: Largest weights file, unless a single tensor is larger.
        progress: Called with a part's name and the fraction of all bytes that are written.
        overwrite: Replace an existing baked folder.
        default_preset: Preset of requests that set none; None: that of the merged LoRA, or quality.
        name: Name of the weights, for people.
        selection: The published files to read; None: any that exists.
        check: Verify the folder before it gets its name.
        models: Models whose audio layers to bake, of "multitalk" and "infinitetalk"; None: those selected, or
            all that exist.

    Raises:
        InvalidInput: An argument is invalid.
        WeightsError: A published file is missing, damaged or does not match, or verification failed.
    """
    weights, target = PublishedWeights(source_dir, selection), Path(target_dir)
    check_choice(precision, "precision", PRECISIONS)
    check_target(target, weights.root, overwrite)
    steps = _prepare(weights, precision, loras, transformer_source, text_encoder_source, models)
    check_space(target, steps.nbytes)
    with new_folder(target) as working:
        manifest = make_manifest(
            working,
            name=name or f"{' and '.join(_NAMES[model] for model in steps.models)}, {precision}",
            default_preset=default_preset or _preset_of(steps.merged),
            precision={part.name: part.precision for part in steps.parts if part.name in PARTS},
            loras=steps.merged,
            hashes=steps.write(working, int(max_shard_bytes), progress),
            sources=steps.sources,
            audio_layers=steps.audio_layers,
        )
        if check and (problems := verify(working)):
            raise WeightsError(f"The baked weights failed verification: {problems[0]}")
    if progress is not None:
        progress("done", 1.0)
    return manifest


@dataclass(frozen=True)
class _Steps:
    """All steps of a bake.

    Attributes:
        weights: The published files.
        parts: The model's parts.
        merged: LoRAs in the transformer.
        kokoro: Speech, or None.
        audio_layers: Sets of audio layers, the transformer's first.
    """

    weights: PublishedWeights
    parts: list[PartSteps]
    merged: tuple[MergedLora, ...]
    kokoro: KokoroFiles | None
    audio_layers: tuple[str, ...]

    @property
    def models(self) -> list[str]:
        """Models that have a set of audio layers."""
        return [model for model, sets in catalogue.MODELS.items() if set(sets) & set(self.audio_layers)]

    @property
    def nbytes(self) -> int:
        """Bytes to be written."""
        speech = self.kokoro.nbytes if self.kokoro is not None else 0
        separator = self.weights.separator
        speech += separator.stat().st_size if separator is not None else 0
        return sum(part.nbytes for part in self.parts) + speech

    @property
    def sources(self) -> dict[str, list[dict[str, Any]]]:
        """By part: name and size of the published files it is made from."""
        sources = {part.name: part.source.files() for part in self.parts}
        if self.kokoro is not None:
            sources[KOKORO_FOLDER] = self.kokoro.files()
        if self.weights.separator is not None:
            sources[SEPARATOR_FOLDER] = [self.weights.separator]
        root = self.weights.root
        return {
            part: [{"file": p.relative_to(root).as_posix(), "size": p.stat().st_size} for p in files]
            for part, files in sources.items()
        }

    def write(self, folder: Path, max_shard_bytes: int, progress: OnProgress | None) -> dict[str, str]:
        """Write everything except the manifest; return the sha256 of each weights file."""
        hashes = _write_parts(self.parts, folder, max_shard_bytes, progress)
        _copy_files(self.weights, folder)
        if self.kokoro is not None:
            self.kokoro.copy(folder)
        if self.weights.separator is not None:
            (folder / SEPARATOR_FOLDER).mkdir()
            shutil.copyfile(self.weights.separator, folder / SEPARATOR_FOLDER / SEPARATOR_WEIGHTS)
        return hashes


def _prepare(
    weights: PublishedWeights,
    precision: str,
    loras: Sequence[tuple[str | Path, float]],
    transformer_source: str | None,
    text_encoder_source: str | None,
    models: Sequence[str] | None,
) -> _Steps:
    form = weights.transformer_form(transformer_source)
    text_form = weights.text_encoder_form(text_encoder_source)
    files = [LoraFile(_find_lora(weights, lora), scale) for lora, scale in loras]
    merged = tuple(MergedLora(file.path.name, file.scale) for file in files)
    if form == "int8-fusionx":
        fusionx = LORA_FILES["fusionx"]
        if any(lora.name == fusionx for lora in merged):
            raise InvalidInput("loras: fusionx is already merged into the int8-fusionx file.", "loras")
        merged = (MergedLora(fusionx, 1.0), *merged)
    transformers = audio_layer_sets(weights, form, find_models(weights, form, models))
    parts = prepare_parts(weights, PRECISIONS[precision], transformers, text_form, files)
    reports = [source.report() for source in transformers.values() if isinstance(source, LayeredSource)]
    for report in (*filter(None, reports), *(warning for file in files for warning in file.warnings)):
        logger.warning("%s", report)
    return _Steps(weights, parts, merged, find_kokoro(weights), tuple(transformers))


def _find_lora(weights: PublishedWeights, lora: str | Path) -> Path:
    """Find the LoRA file of a preset, in the published folder, or at a path."""
    name = LORA_FILES.get(str(lora), str(lora))
    for path in (Path(name), weights.root / name, weights.root / f"{name}.safetensors"):
        if path.is_file():
            return path
        if path.exists():
            raise WeightsError(f"LoRA '{lora}' is not a file ({path}). Set a .safetensors file.")
    raise WeightsError(
        f"LoRA '{lora}' is missing: {weights.root / name} does not exist. "
        f"Set a file, or one of {', '.join(LORA_FILES)}."
    )


def _preset_of(merged: Sequence[MergedLora]) -> str:
    """Return the preset that a merged LoRA belongs to."""
    names = {lora.name for lora in merged}
    return next((preset for preset, file in LORA_FILES.items() if file in names), "quality")


def _write_parts(
    parts: list[PartSteps], folder: Path, max_shard_bytes: int, progress: OnProgress | None
) -> dict[str, str]:
    """Write every part; return the sha256 of each weights file."""
    total, done = sum(part.nbytes for part in parts), 0
    hashes: dict[str, str] = {}

    def run(part: PartSteps, shard: Sequence[TensorStep]) -> Iterator[tuple[str, torch.Tensor]]:
        nonlocal done
        for step in shard:
            yield from run_step(part, step)
            done += step.nbytes
            if progress is not None:
                progress(part.name, done / total)

    for part in parts:
        part_folder = folder / part.name
        part_folder.mkdir(parents=True)
        if part.name in (*PARTS, FAST_DECODER):
            save_config(part.name, part.model, part.dtype, part_folder)
        shards = _pack(part.steps, max_shard_bytes)
        stem = weights_name(part.name)
        weight_map: dict[str, str] = {}
        for number, shard in enumerate(shards, 1):
            suffix = f"-{number:05d}-of-{len(shards):05d}" if len(shards) > 1 else ""
            file = part_folder / f"{stem}{suffix}.safetensors"
            infos = {name: info for step in shard for name, info in step.stored}
            hashes[f"{part.name}/{file.name}"] = write_safetensors(file, infos, run(part, shard))
            weight_map |= dict.fromkeys(infos, file.name)
        if len(shards) > 1:
            size = sum(info.nbytes for step in part.steps for _, info in step.stored)
            index = {"metadata": {"total_size": size}, "weight_map": weight_map}
            (part_folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
    return hashes


def _pack(steps: Sequence[TensorStep], max_bytes: int) -> list[list[TensorStep]]:
    """Divide a part into shards of at most `max_bytes`, headers included, in reading order."""
    max_bytes -= min(HEADER_BYTES, max_bytes // 100)
    shards: list[list[TensorStep]] = []
    size = 0
    for step in steps:
        if not shards or size + step.nbytes > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(step)
        size += step.nbytes
    # wider dtypes first, so that every tensor is aligned for its dtype
    return [sorted(shard, key=lambda step: -step.itemsize) for shard in shards]


def _copy_files(weights: PublishedWeights, folder: Path) -> None:
    """Copy the files that are not converted: tokenizer, feature extractor, LoRAs."""
    (folder / TOKENIZER_FOLDER).mkdir()
    for path in sorted(weights.path(catalogue.TOKENIZER).iterdir()):
        if path.is_file() and not path.name.startswith("."):
            shutil.copyfile(path, folder / TOKENIZER_FOLDER / path.name)
    extractor = weights.path(catalogue.FEATURE_EXTRACTOR_CONFIG)
    shutil.copyfile(extractor, folder / "audio_encoder" / extractor.name)
    (folder / LORA_FOLDER).mkdir()
    for path in weights.lora_files():
        shutil.copyfile(path, folder / LORA_FOLDER / path.name)
