"""The form's LoRAs: those of the weights folder and uploaded ones, each with a strength.

A value of the form's field is a list of ``{"name": ..., "path": ..., "strength": ...}``; the path is None for
a LoRA of the weights folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from ..request.numbers import Range, shown
from ..request.parts import LoraSpec
from .options import PRESET_TITLES

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest
    from ..request.presets import Preset

MOST = 8
STRENGTH = Range(0, 2)
FOLDER = "loras"  # in the folder of a job

FindLora = Callable[[Any], Path]


def lora_paths(value: Any) -> list[str]:
    """Return the paths of the uploaded files in the form's value."""
    return [entry["path"] for entry in _entries(value) if entry["path"] is not None]


def chosen_loras(value: Any, find_lora: FindLora) -> list[dict[str, Any]]:
    """Return the request's ``lora``.

    Args:
        value: The form's value.
        find_lora: Returns the file of a LoRA of the weights folder by its name.

    Raises:
        InvalidInput: A LoRA or its strength is invalid.
    """
    entries = _entries(value)
    if len(entries) > MOST:
        raise InvalidInput(f"LoRA: at most {MOST} are possible, not {len(entries)}. Remove some.", "lora")
    return [
        {
            "path": entry["path"] or str(find_lora(entry["name"])),
            "scale": STRENGTH.check(entry["strength"], "lora", f"Strength of {entry['name']}"),
        }
        for entry in entries
    ]


def kept_loras(value: Any, is_own_file: Callable[[Any], bool]) -> list[dict[str, Any]]:
    """Return the valid entries of a value that the browser has kept."""
    try:
        entries = _entries(value)[:MOST]
    except InvalidInput:
        return []
    return [
        entry
        for entry in entries
        if _is_strength(entry["strength"]) and (entry["path"] is None or is_own_file(entry["path"]))
    ]


def restored_loras(
    loras: Iterable[tuple[str, float]], available: Iterable[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the form's value for the LoRAs of a finished video, and those that must be added again.

    Args:
        loras: Names and scales.
        available: Names of the LoRAs of the weights folder.
    """
    names = set(available)
    found, missing = [], []
    for name, scale in loras:
        if name in names and _is_strength(scale):
            found.append({"name": name, "path": None, "strength": scale})
        else:
            missing.append(f"{name} (strength {scale:g})")
    return found, missing


def lora_choices(names: Iterable[str], presets: Iterable[Preset]) -> list[dict[str, str]]:
    """Return the LoRAs of the weights folder for the page's script; a note names the preset of a LoRA."""
    parts: dict[str | None, list[str]] = {}
    for preset in presets:
        parts.setdefault(preset.lora, []).append(PRESET_TITLES.get(preset.name, preset.name))
    notes = {lora: f"part of preset {' and '.join(titles)}" for lora, titles in parts.items()}
    return [{"name": name, "note": notes.get(name, "")} for name in names]


def link_uploads(request: GenerationRequest, uploads: Path, folder: Path) -> GenerationRequest:
    """Link a request's uploaded LoRAs into the folder of its job: uploads may be deleted while it waits.

    Args:
        request: The request.
        uploads: Folder of the uploads.
        folder: Folder of the job, on the same disk.

    Raises:
        InvalidInput: A file was deleted meanwhile.
    """
    try:
        return place_files(request, folder, lambda path: path.is_relative_to(uploads), _link)
    except OSError:
        raise InvalidInput(
            "LoRA: an uploaded file is no longer on the server. Add it again.", "lora"
        ) from None


def place_files(
    request: GenerationRequest,
    folder: Path,
    is_temporary: Callable[[Path], bool],
    place: Callable[[Path, Path], object] = shutil.copyfile,
) -> GenerationRequest:
    """Return a request whose LoRAs in temporary places are in a folder of its own.

    Args:
        request: The request.
        folder: Gets a folder ``loras``.
        is_temporary: Whether a file is in a temporary place.
        place: Copies or links a file.

    Raises:
        OSError: A file cannot be placed.
    """
    loras: list[LoraSpec] = []
    for number, lora in enumerate(request.lora):
        path = lora.path
        if is_temporary(path):
            path = folder / FOLDER / str(number) / lora.path.name  # the result's settings name the file
            path.parent.mkdir(parents=True)
            place(lora.path, path)
        loras.append(lora.model_copy(update={"path": path}))
    return request.model_copy(update={"lora": tuple(loras)}) if loras else request


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # some file systems have no links
        shutil.copyfile(source, target)


def _entries(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        value = [] if value is None else [value]
    for entry in value:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise InvalidInput(f"LoRA: {shown(entry)} is not valid. Remove it and add it again.", "lora")
        if not isinstance(entry.get("path"), (str, type(None))):
            raise InvalidInput(f"LoRA: {shown(entry['path'])} is not a file. Add it again.", "lora")
    return [{"strength": 1.0, "path": None} | dict(entry) for entry in value]


def _is_strength(value: Any) -> bool:
    try:
        STRENGTH.check(value, "lora")
    except InvalidInput:
        return False
    return value is not None
