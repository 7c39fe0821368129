"""Kokoro in a bake: its published files, checked and copied, and spaCy's model that it reads English with."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from ..errors import WeightsError
from ..weights import kokoro_files as names
from .published import KOKORO, SPACY_MODEL, PublishedWeights

# Kokoro's published checkpoint: a dict of tensors for each of the network's parts
MODULES = ("bert", "bert_encoder", "predictor", "decoder", "text_encoder")
VOICE_SHAPE = (510, 1, 256)  # a style for every number of phonemes


@dataclass(frozen=True)
class KokoroFiles:
    """Kokoro's published files, known to be whole.

    Attributes:
        folder: Holds config.json, kokoro-v1_0.pth and voices.
        voices: Their files.
        spacy_model: The folder or the wheel of spaCy's en_core_web_sm; None where it isn't there.
    """

    folder: Path
    voices: tuple[Path, ...]
    spacy_model: Path | None

    @property
    def nbytes(self) -> int:
        """Bytes of everything, about."""
        files = [self.folder / names.CONFIG, self.folder / names.WEIGHTS, *self.voices]
        if self.spacy_model is not None:
            model = self.spacy_model
            files += [model] if model.is_file() else [path for path in model.rglob("*") if path.is_file()]
        return sum(path.stat().st_size for path in files)

    def copy(self, target: Path) -> None:
        """Write everything into a baked folder's own folder for Kokoro."""
        folder = target / names.FOLDER
        (folder / names.VOICES).mkdir(parents=True)
        for name in (names.CONFIG, names.WEIGHTS):
            shutil.copyfile(self.folder / name, folder / name)
        for path in self.voices:
            shutil.copyfile(path, folder / names.VOICES / path.name)
        if self.spacy_model is not None:
            _copy_spacy_model(self.spacy_model, folder / names.SPACY_MODEL)

    def sources(self, root: Path) -> dict[str, list[dict[str, Any]]]:
        """What the manifest says the files were made from."""
        files = [self.folder / names.CONFIG, self.folder / names.WEIGHTS, *self.voices]
        if self.spacy_model is not None and self.spacy_model.is_file():
            files.append(self.spacy_model)
        described = [{"file": p.relative_to(root).as_posix(), "size": p.stat().st_size} for p in files]
        return {names.FOLDER: described}


def find_kokoro(weights: PublishedWeights) -> KokoroFiles | None:
    """Kokoro's files in a published folder, each of them read and checked; None where none is taken.

    Raises:
        WeightsError: A file is missing, damaged or doesn't fit.
    """
    if not weights.has_speech:
        return None
    folder = weights.root / KOKORO
    config = weights.config(f"{KOKORO}/{names.CONFIG}")
    _check_network(config, weights.path(f"{KOKORO}/{names.WEIGHTS}"))
    voices = tuple(sorted((folder / names.VOICES).glob("*.pt")))
    if not voices:
        raise WeightsError(f"Weights file {folder / names.VOICES}/*.pt is missing: Kokoro needs a voice.")
    for path in voices:
        _check_voice(path)
    return KokoroFiles(folder, voices, _find_spacy_model(weights.root))


def _check_network(config: dict[str, Any], path: Path) -> None:
    """Load the checkpoint into the package's network, which by itself is silent on what doesn't fit."""
    parts = _load(path)
    if not isinstance(parts, dict) or any(not isinstance(part, dict) for part in parts.values()):
        raise WeightsError(f"Weights file {path} has another layout than Kokoro's.")
    try:
        network = _empty_network(config)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{path.with_name(names.CONFIG)} can't be used for Kokoro: {' '.join(str(error).split())[:200]}."
        ) from error
    for name in MODULES:
        if name not in parts:
            raise WeightsError(f"Weights file {path} lacks Kokoro's part {name}.")
        module = getattr(network, name)
        tensors = {key.removeprefix("module."): value for key, value in parts[name].items()}
        try:
            missing = module.load_state_dict(tensors, strict=False).missing_keys
        except RuntimeError as error:  # shapes
            reason = str(error).splitlines()[-1].strip()
            raise WeightsError(f"Weights file {path} doesn't fit Kokoro's {name}: {reason}") from error
        for key in missing:
            if not _may_lack(module, key):
                raise WeightsError(f"Weights file {path} lacks a tensor: {name}'s {key}.")


def _empty_network(config: dict[str, Any]) -> torch.nn.Module:
    """Kokoro's network before any weights are loaded."""
    from kokoro import KModel

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.random.fork_rng(devices=[]):
        return KModel(repo_id="hexgrad/Kokoro-82M", config=config, model=nothing)


def _may_lack(module: torch.nn.Module, key: str) -> bool:
    """Whether a checkpoint is whole without a tensor, as the published one is.

    The package gave the norms a factor of 1 for an exporter's sake, and bert's pooler isn't run.
    """
    owner = key.rpartition(".")[0]
    return owner == "pooler" or isinstance(module.get_submodule(owner), torch.nn.InstanceNorm1d)


def _check_voice(path: Path) -> None:
    style = _load(path)
    if not isinstance(style, torch.Tensor) or tuple(style.shape) != VOICE_SHAPE:
        raise WeightsError(
            f"Weights file {path} is no voice of Kokoro's, which is a tensor of {VOICE_SHAPE}."
        )
    if not bool(torch.isfinite(style).all()):
        raise WeightsError(f"Weights file {path} has values that aren't numbers.")


def _find_spacy_model(root: Path) -> Path | None:
    """The wheel or folder of spaCy's model beside the published weights: ``en_core_web_sm*``."""
    for path in sorted(root.glob(f"{SPACY_MODEL}*"), reverse=True):  # the newest version first
        if path.suffix == ".whl" and path.is_file():
            return path
        if path.is_dir() and next(path.rglob("config.cfg"), None) is not None:
            return path
    return None


def _copy_spacy_model(source: Path, target: Path) -> None:
    """Copy the model's own files, those beside the topmost config.cfg, out of a folder or a wheel."""
    if source.is_dir():
        config = min(source.rglob("config.cfg"), key=lambda path: len(path.parts))
        shutil.copytree(config.parent, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    else:
        try:
            with zipfile.ZipFile(source) as wheel:
                for member, inside in _model_members(wheel):
                    (target / inside).parent.mkdir(parents=True, exist_ok=True)
                    (target / inside).write_bytes(wheel.read(member))
        except (zipfile.BadZipFile, OSError) as error:
            raise WeightsError(f"{source} can't be read as a wheel: {error}.") from error
    if not (target / "config.cfg").is_file() or not _is_english(target / "meta.json"):
        raise WeightsError(f"{source} holds no English model of spaCy's.")


def _model_members(wheel: zipfile.ZipFile) -> Iterator[tuple[str, PurePosixPath]]:
    """Files of the model in a wheel, and where each goes; none outside the model's folder."""
    files = [PurePosixPath(name) for name in wheel.namelist() if not name.endswith("/")]
    configs = [path for path in files if path.name == "config.cfg"]
    if not configs:
        return
    top = min(configs, key=lambda path: len(path.parts)).parent
    for path in files:
        if path.is_relative_to(top) and ".." not in path.parts:
            yield path.as_posix(), path.relative_to(top)


def _is_english(meta: Path) -> bool:
    try:
        return json.loads(meta.read_text(encoding="utf-8")).get("lang") == "en"
    except (OSError, ValueError, AttributeError):
        return False


def _load(path: Path) -> Any:
    """A ``.pth`` or ``.pt`` file; nothing but tensors and plain containers is unpickled."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(f"Weights file {path} can't be read: {lines[0].rstrip('.')}.") from error
