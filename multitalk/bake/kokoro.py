"""Check and copy Kokoro's published files, and spaCy's model, which Kokoro needs for English."""

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
from ..weights import folders
from .catalogue import KOKORO, KOKORO_CONFIG, KOKORO_VOICES, KOKORO_WEIGHTS
from .published import PublishedWeights, load_pickle

# Kokoro's published checkpoint: a dict of tensors for each of these modules
MODULES = ("bert", "bert_encoder", "predictor", "decoder", "text_encoder")
VOICE_SHAPE = (510, 1, 256)  # a style per number of phonemes


@dataclass(frozen=True)
class KokoroFiles:
    """Kokoro's published files, which are complete.

    Attributes:
        folder: Holds config.json, kokoro-v1_0.pth and voices.
        voices: Their files.
        spacy_model: Folder or wheel of spaCy's en_core_web_sm; None if it is missing.
    """

    folder: Path
    voices: tuple[Path, ...]
    spacy_model: Path | None

    @property
    def nbytes(self) -> int:
        """Bytes of all files, approximately."""
        files = self.files()
        if self.spacy_model is not None and self.spacy_model.is_dir():
            files += [path for path in self.spacy_model.rglob("*") if path.is_file()]
        return sum(path.stat().st_size for path in files)

    def files(self) -> list[Path]:
        """List the published files."""
        files = [self.folder / folders.KOKORO_CONFIG, self.folder / folders.KOKORO_WEIGHTS, *self.voices]
        if self.spacy_model is not None and self.spacy_model.is_file():
            files.append(self.spacy_model)
        return files

    def copy(self, target: Path) -> None:
        """Write the files into the Kokoro folder of a baked folder."""
        folder = target / folders.KOKORO_FOLDER
        (folder / folders.KOKORO_VOICES).mkdir(parents=True)
        for name in (folders.KOKORO_CONFIG, folders.KOKORO_WEIGHTS):
            shutil.copyfile(self.folder / name, folder / name)
        for path in self.voices:
            shutil.copyfile(path, folder / folders.KOKORO_VOICES / path.name)
        if self.spacy_model is not None:
            _copy_spacy_model(self.spacy_model, folder / folders.SPACY_MODEL)


def find_kokoro(weights: PublishedWeights) -> KokoroFiles | None:
    """Read and check Kokoro's files in a published folder; None if it has none or they are not selected.

    Raises:
        WeightsError: A file is missing, damaged or does not match the network.
    """
    if not weights.has_speech:
        return None
    _check_network(weights.config(KOKORO_CONFIG), weights.path(KOKORO_WEIGHTS))
    voices = tuple(sorted(weights.root.glob(KOKORO_VOICES)))
    if not voices:
        raise WeightsError(f"Weights file {weights.root / KOKORO_VOICES} is missing: Kokoro needs a voice.")
    for path in voices:
        _check_voice(path)
    return KokoroFiles(weights.root / KOKORO.folder, voices, _find_spacy_model(weights.root))


def _check_network(config: dict[str, Any], path: Path) -> None:
    """Load the checkpoint into the package's network, since the package itself ignores mismatches."""
    parts = load_pickle(path)
    if not isinstance(parts, dict) or any(not isinstance(part, dict) for part in parts.values()):
        raise WeightsError(f"Weights file {path} does not have Kokoro's layout.")
    try:
        network = _empty_network(config)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path.with_name(folders.KOKORO_CONFIG)} is not valid for Kokoro: {reason}."
        ) from error
    for name in MODULES:
        if name not in parts:
            raise WeightsError(f"Weights file {path} lacks Kokoro's module {name}.")
        module = getattr(network, name)
        tensors = {key.removeprefix("module."): value for key, value in parts[name].items()}
        try:
            missing = module.load_state_dict(tensors, strict=False).missing_keys
        except RuntimeError as error:  # shapes
            reason = str(error).splitlines()[-1].strip()
            raise WeightsError(f"Weights file {path} does not match Kokoro's {name}: {reason}") from error
        for key in missing:
            if not _is_optional(module, key):
                raise WeightsError(f"Weights file {path} lacks a tensor of Kokoro's {name}: {key}.")


def _empty_network(config: dict[str, Any]) -> torch.nn.Module:
    """Build Kokoro's network with random weights."""
    from kokoro import KModel

    checkpoint = io.BytesIO()
    torch.save({}, checkpoint)
    checkpoint.seek(0)
    with torch.random.fork_rng(devices=[]):
        return KModel(repo_id=KOKORO.name, config=config, model=checkpoint)


def _is_optional(module: torch.nn.Module, key: str) -> bool:
    """Whether the published checkpoint, too, lacks a tensor.

    The package gives norms a factor of 1 only for export, and does not run bert's pooler.
    """
    owner = key.rpartition(".")[0]
    return owner == "pooler" or isinstance(module.get_submodule(owner), torch.nn.InstanceNorm1d)


def _check_voice(path: Path) -> None:
    style = load_pickle(path)
    if not isinstance(style, torch.Tensor) or tuple(style.shape) != VOICE_SHAPE:
        raise WeightsError(
            f"Weights file {path} is not a Kokoro voice: it must be a tensor of {VOICE_SHAPE}."
        )
    if not bool(torch.isfinite(style).all()):
        raise WeightsError(f"Weights file {path} has values that are not finite.")


def _find_spacy_model(root: Path) -> Path | None:
    """Find spaCy's model beside the published weights: a wheel or folder ``en_core_web_sm*``."""
    for path in sorted(root.glob(f"{folders.SPACY_MODEL}*"), reverse=True):  # the newest version first
        if path.suffix == ".whl" and path.is_file():
            return path
        if path.is_dir() and next(path.rglob("config.cfg"), None) is not None:
            return path
    return None


def _copy_spacy_model(source: Path, target: Path) -> None:
    """Copy the folder with the topmost config.cfg out of a folder or a wheel."""
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
            raise WeightsError(f"{source} cannot be read as a wheel: {error}.") from error
    if not (target / "config.cfg").is_file() or not _is_english(target / "meta.json"):
        raise WeightsError(f"{source} does not contain an English spaCy model.")


def _model_members(wheel: zipfile.ZipFile) -> Iterator[tuple[str, PurePosixPath]]:
    """Yield the model's files in a wheel and their paths in the model's folder."""
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
