"""Read a job's input: check it, download, decode or read its files, and build the GenerationRequest."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ..errors import InvalidInput
from ..media.sound import Sound
from ..media.sound_reading import read_sound
from ..media.source_video import Video
from ..media.stopping import in_stoppable_thread
from ..request.aliases import FILE_NAMES, translate, uses_worker_names
from ..request.checks import PEOPLE, RowsFirst, check_flag, check_names
from ..request.generation_request import GenerationRequest
from ..request.infinitetalk_names import ignored_fields, missing_picture
from ..request.numbers import NUMBERS, shown
from .sources import VIDEOS, Source, classify_source, decode, open_path, read_path, resolve_path
from .urls import fetch
from .worker_settings import WorkerSettings

# a picture, a mask, a sound and a video that pass every check
_PICTURE = Image.new("RGB", (64, 64))
_MASK = Image.new("RGB", (64, 64), "white")
MOST_MOTION_FRAMES = int(NUMBERS["motion_frames"].maximum)
_SOUND = (np.full(16000, 0.5, np.float32), 16000)


class _StandInVideo(Video):
    def read_sound(self) -> Sound:
        return read_sound(_SOUND)


_VIDEO = _StandInVideo(io.BytesIO(), "video", _PICTURE, 25, 1.0, has_sound=True, sound_delay=0.0)


class _StandInContinued(_StandInVideo):
    @property
    def last_picture(self) -> Image.Image:
        return _PICTURE

    def frames_at(self, rate: int) -> int:
        return MOST_MOTION_FRAMES  # enough for every setting


_CONTINUED = _StandInContinued(io.BytesIO(), "video", _PICTURE, 25, 1.0, has_sound=False, sound_delay=0.0)
_STAND_INS: dict[str, Any] = {"image": _PICTURE, "continue_from": _CONTINUED, "video": _VIDEO}
BY_PERSON: dict[str, Any] = {"audio": _SOUND, "masks": _MASK}  # one file, or one by person


async def read_request(job_input: Any, settings: WorkerSettings) -> GenerationRequest:
    """Build the request of a job.

    All fields except the files are checked before anything is downloaded.

    Args:
        job_input: The job's ``input``.
        settings: Allowed folders and networks.

    Raises:
        InvalidInput: One sentence about the first invalid field.
    """
    if not isinstance(job_input, Mapping):
        raise InvalidInput(
            f"input must be an object with the fields of a request, not {shown(job_input)}.", "input"
        )
    fields = translate(job_input)
    if (wants_frame := fields.pop("last_frame", None)) is not None:  # in the answer; see handler.py
        check_flag(wants_frame, "last_frame")
    warnings = ignored_fields(job_input)
    if uses_worker_names(job_input):
        warnings += _drop_unknown(fields)
    check_names(fields, GenerationRequest.model_fields, "field of the input")
    if all(fields.get(name) is None for name in _STAND_INS):
        missing = "image is missing. Provide an image in image, or a video in video."
        raise missing_picture(job_input) or InvalidInput(missing, "image")
    sources = _classify_sources(fields)
    await asyncio.to_thread(_check_other_fields, fields, settings)
    files = {}
    for field, source in sources.items():
        files[field] = await _read(source, field, settings)
    request = await in_stoppable_thread(_build, fields, files)
    return request.with_warnings(*warnings)


def input_urls(job_input: Any) -> list[str]:
    """Return the URLs in a job's input, for the log."""
    if not isinstance(job_input, Mapping):
        return []
    values: list[Any] = []
    for name in (*_STAND_INS, *BY_PERSON, *FILE_NAMES):
        value = job_input.get(name)
        values += value.values() if isinstance(value, Mapping) else [value]
    return [value for value in values if isinstance(value, str) and value.startswith(("http:", "https:"))]


def _drop_unknown(fields: dict[str, Any]) -> list[str]:
    """Remove unknown fields, which the other worker ignores; return a warning about them, if any."""
    unknown = [name for name in fields if name not in GenerationRequest.model_fields]
    for name in unknown:
        del fields[name]
    if not unknown:
        return []
    names = ", ".join(shown(name) for name in unknown[:5])
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return [f"Fields that are not supported were ignored: {names}{more}."]


def _classify_sources(fields: Mapping[str, Any]) -> dict[str, Source]:
    """Return the files to read, by field name."""
    given = [field for field in _STAND_INS if fields.get(field) is not None]
    sources = {field: classify_source(fields[field], field) for field in given}
    for name in BY_PERSON:
        value = fields.get(name)
        if isinstance(value, Mapping):
            check_names(value, PEOPLE, f"person of {name}")
            for person, source in value.items():
                if source is not None:
                    sources[f"{name}.{person}"] = classify_source(source, f"{name}.{person}")
        elif value is not None:
            sources[name] = classify_source(value, name)
    return sources


def _check_other_fields(fields: dict[str, Any], settings: WorkerSettings) -> None:
    """Check all fields except the files, so that an invalid job downloads nothing.

    Runs the request's own checks with a stand-in picture or video, sounds and boxes, which are checked later.
    """
    if fields.get("lora") is not None:
        fields["lora"] = _allowed_loras(fields["lora"], settings)
    boxes = fields["boxes"].boxes if isinstance(fields.get("boxes"), RowsFirst) else fields.get("boxes")
    named = [person for person in PEOPLE if person in boxes] if isinstance(boxes, Mapping) else []
    stand_in = dict(fields) | {"boxes": dict.fromkeys(named, (0, 0, *_PICTURE.size))}
    stand_in |= {field: _STAND_INS[field] for field in _STAND_INS if fields.get(field) is not None}
    for name, file in BY_PERSON.items():
        value = fields.get(name)
        if isinstance(value, Mapping):
            stand_in[name] = {person: file for person, source in value.items() if source is not None}
        elif value is not None:
            stand_in[name] = file
    GenerationRequest.checked(stand_in)


def _allowed_loras(value: Any, settings: WorkerSettings) -> list[Any]:
    """Check and resolve the paths of LoRAs; the request rejects entries that are no paths."""
    loras = []
    for entry in value if isinstance(value, list) else [value]:
        path = entry.get("path") if isinstance(entry, Mapping) else entry
        if not isinstance(path, str) or not path:
            loras.append(entry)
            continue
        if "\0" in path or len(path) > 4096:
            raise InvalidInput("lora.path is not a valid path.", "lora")
        real = resolve_path(path, settings.input_roots, "lora.path")
        if real.suffix != ".safetensors":
            raise InvalidInput("lora.path must be a .safetensors file.", "lora")
        loras.append({**entry, "path": str(real)} if isinstance(entry, Mapping) else {"path": str(real)})
    return loras


async def _read(source: Source, field: str, settings: WorkerSettings) -> bytes | BinaryIO:
    if source.kind == "path" and field in VIDEOS:  # may be large, and is read as it is needed
        return await asyncio.to_thread(open_path, source.text, settings.input_roots, field)
    if source.kind == "url":
        return await fetch(source.text, field, settings.allowed_networks)
    if source.kind == "path":
        return await asyncio.to_thread(read_path, source.text, settings.input_roots, field)
    return await asyncio.to_thread(decode, source, field)


def _build(fields: dict[str, Any], files: Mapping[str, bytes | BinaryIO]) -> GenerationRequest:
    complete: dict[str, Any] = dict(fields)
    complete |= {field: files[field] for field in _STAND_INS if field in files}
    for name in BY_PERSON:
        if name in files:
            complete[name] = files[name]
        elif fields.get(name) is not None:
            complete[name] = {
                field.removeprefix(f"{name}."): data
                for field, data in files.items()
                if field.startswith(f"{name}.")
            }
    return GenerationRequest.checked(complete)
