"""From a job's input to a GenerationRequest: files fetched, decoded or read, then all of it checked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InvalidInput
from ..request.aliases import translate
from ..request.checks import PEOPLE, check_names
from ..request.generation_request import GenerationRequest
from ..request.numbers import shown
from .paths import read_path, resolve_path
from .sources import Source, decode, sort_source
from .urls import fetch
from .worker_settings import WorkerSettings

# what no check of a picture or a sound refuses
_PICTURE = Image.new("RGB", (64, 64))
_SOUND = (np.full(16000, 0.5, np.float32), 16000)


async def read_request(given: Any, settings: WorkerSettings) -> GenerationRequest:
    """Make the request of a job.

    Everything that can be told from the input alone is checked before anything is fetched.

    Args:
        given: The job's ``input``, as it came.
        settings: Folders and networks that are allowed.

    Raises:
        InvalidInput: One sentence about the first field that can't be used.
    """
    if not isinstance(given, Mapping):
        raise InvalidInput(
            f"input is {shown(given)}, but must be an object with the fields of a request.", "input"
        )
    fields = translate(given)
    check_names(fields, GenerationRequest.model_fields, "field of the input")
    if fields.get("image") is None:
        raise InvalidInput("image is missing.", "image")
    sources = _sort_sources(fields)
    await asyncio.to_thread(_check_the_rest, fields, settings)
    files = {}
    for field, source in sources.items():
        files[field] = await _read(source, field, settings)
    return await asyncio.to_thread(_build, fields, files)


def input_urls(given: Any) -> list[str]:
    """The URLs of a job's input, for a log that is asked to show them."""
    if not isinstance(given, Mapping):
        return []
    values: list[Any] = []
    for name in ("image", "image_path", "audio", "audio_paths"):
        value = given.get(name)
        values += value.values() if isinstance(value, Mapping) else [value]
    return [value for value in values if isinstance(value, str) and value.startswith(("http:", "https:"))]


def _sort_sources(fields: Mapping[str, Any]) -> dict[str, Source]:
    """What has to be read, by the name that errors call it."""
    sources = {"image": sort_source(fields["image"], "image")}
    audio = fields.get("audio")
    if isinstance(audio, Mapping):
        check_names(audio, PEOPLE, "person of audio")
        for person, value in audio.items():
            if value is not None:
                sources[f"audio.{person}"] = sort_source(value, f"audio.{person}")
    elif audio is not None:
        sources["audio"] = sort_source(audio, "audio")
    return sources


def _check_the_rest(fields: dict[str, Any], settings: WorkerSettings) -> None:
    """Check all fields but the files: a job with a wrong number in it fetches nothing.

    The checks are the request's own, on a picture and sounds that can't fail; what only the real picture
    can tell (boxes) is left for later.
    """
    if fields.get("lora") is not None:
        fields["lora"] = _allowed_loras(fields["lora"], settings)
    stand_in = dict(fields) | {"image": _PICTURE, "boxes": None}
    audio = fields.get("audio")
    if isinstance(audio, Mapping):
        stand_in["audio"] = {person: _SOUND for person, value in audio.items() if value is not None}
    elif audio is not None:
        stand_in["audio"] = _SOUND
    GenerationRequest.checked(stand_in)


def _allowed_loras(value: Any, settings: WorkerSettings) -> list[Any]:
    """LoRAs with their paths checked and resolved; what is no path is left for the request to refuse."""
    loras = []
    for entry in value if isinstance(value, list) else [value]:
        path = entry.get("path") if isinstance(entry, Mapping) else entry
        if not isinstance(path, str) or not path:
            loras.append(entry)
            continue
        if "\0" in path or len(path) > 4096:
            raise InvalidInput("lora.path is no path that could exist.", "lora")
        real = resolve_path(path, settings.input_roots, "lora.path")
        if real.suffix != ".safetensors":
            raise InvalidInput("lora.path must be a .safetensors file.", "lora")
        loras.append({**entry, "path": str(real)} if isinstance(entry, Mapping) else {"path": str(real)})
    return loras


async def _read(source: Source, field: str, settings: WorkerSettings) -> bytes:
    if source.kind == "url":
        return await fetch(source.text, field, settings.allowed_networks)
    if source.kind == "path":
        return await asyncio.to_thread(read_path, source.text, settings.input_roots, field)
    return await asyncio.to_thread(decode, source, field)


def _build(fields: dict[str, Any], files: Mapping[str, bytes]) -> GenerationRequest:
    complete: dict[str, Any] = dict(fields) | {"image": files["image"]}
    if "audio" in files:
        complete["audio"] = files["audio"]
    elif fields.get("audio") is not None:
        complete["audio"] = {
            field.removeprefix("audio."): data for field, data in files.items() if field.startswith("audio.")
        }
    return GenerationRequest.checked(complete)
