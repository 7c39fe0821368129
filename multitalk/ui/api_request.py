"""Build a GenerationRequest from the arguments of ``/generate``: files are uploads, never paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..request.aliases import ALIASES, override
from ..request.build import build_request
from ..request.generation_request import GenerationRequest
from ..request.numbers import shown

# A path in the settings would be read with the server's rights, whoever owns the file.
UPLOADED = {"image": "image", "audio": "audio1 and audio2"}
EMPTY: tuple[Any, ...] = (None, "", {}, [])

FindLora = Callable[[Any], Path]


def request_from_call(
    image: str | None, sounds: dict[str, str], arguments: dict[str, Any], settings: Any, find_lora: FindLora
) -> GenerationRequest:
    """Build a request from the arguments of a call; empty arguments have their defaults.

    Args:
        image: The uploaded image.
        sounds: Uploaded audio files by person.
        arguments: The call's other arguments.
        settings: Other fields of a request, also by common name; they override `arguments`.
        find_lora: Returns the file of a LoRA by its name.

    Raises:
        MultiTalkError: A field is missing or invalid.
    """
    if image is None:
        raise InvalidInput("image is missing.", "image")
    fields = {
        name: value
        for name, value in override(arguments, _checked(settings)).items()
        if value not in EMPTY or ALIASES.get(name, name) == "seed"  # null: random, or the default?
    }
    if "lora" in fields:
        fields["lora"] = _lora_files(fields["lora"], find_lora)
    if sounds:
        fields["audio"] = sounds
    return build_request({**fields, "image": image})


def _checked(settings: Any) -> dict[str, Any]:
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        example = '{"steps": 8}'
        raise InvalidInput(f"settings must be fields such as {example}, not {shown(settings)}.", "settings")
    for name, argument in UPLOADED.items():
        if name in settings:
            raise InvalidInput(f"settings cannot contain {name}. Upload files as {argument}.", name)
    return settings


def _lora_files(value: Any, find_lora: FindLora) -> list[Any]:
    entries = value if isinstance(value, list) else [value]
    return [
        {**entry, "path": str(find_lora(entry.get("path")))}
        if isinstance(entry, dict)
        else str(find_lora(entry))
        for entry in entries
    ]
