"""The request that a call of the API describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..request.aliases import ALIASES, override
from ..request.build import build_request
from ..request.caller_names import with_names
from ..request.checks import EMPTY
from ..request.generation_request import GenerationRequest
from ..request.numbers import shown
from .loras import FindLora

# A path in the settings would be read with the server's rights, whoever owns the file.
UPLOADED = {"image": "image", "audio": "audio1 and audio2"}
NOT_UPLOADED = ("video", "continue_from", "masks")
SOUND_NAMES = {"audio.person1": "audio1", "audio.person2": "audio2"}


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
    try:
        return build_request({**fields, "image": image})
    except InvalidInput as error:
        refusal = with_names(error, SOUND_NAMES)
    raise refusal  # not above: it would reference the first error and its frames


def _checked(settings: Any) -> dict[str, Any]:
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        example = '{"steps": 8}'
        raise InvalidInput(f"settings must be fields such as {example}, not {shown(settings)}.", "settings")
    for name, argument in UPLOADED.items():
        if name in settings:
            raise InvalidInput(f"settings cannot contain {name}. Upload files as {argument}.", name)
    for name in NOT_UPLOADED:
        if name in settings:
            raise InvalidInput(f"settings cannot contain {name}, which this API does not take.", name)
    return settings


def with_uploaded_loras(settings: Any, uploaded: list[str]) -> Any:
    """Return settings whose ``lora`` also has the uploaded files that it does not name."""
    if not uploaded:
        return settings
    settings = {} if settings is None else settings
    if not isinstance(settings, dict):
        return settings  # refused later
    entries = _lora_entries(settings.get("lora") or [])
    named = [_name_of(entry) for entry in entries]
    more = [name for name in (Path(path).name for path in uploaded) if name not in named]
    return settings | {"lora": [*entries, *more]}


def find_uploaded(uploaded: list[str], find_lora: FindLora, name: Any) -> Path:
    """Return the file of an uploaded LoRA by its name, else that of the weights folder."""
    files = {Path(path).name: Path(path) for path in uploaded}
    return files[name] if isinstance(name, str) and name in files else find_lora(name)


def _lora_entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _name_of(entry: Any) -> Any:
    return entry.get("path", entry.get("name")) if isinstance(entry, dict) else entry


def _lora_files(value: Any, find_lora: FindLora) -> list[Any]:
    return [
        {key: item for key, item in entry.items() if key != "name"}
        | {"path": str(find_lora(_name_of(entry)))}
        if isinstance(entry, dict)
        else str(find_lora(entry))
        for entry in _lora_entries(value)
    ]


def settings_without_paths(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a result's settings whose LoRAs have a ``name``: Gradio's client downloads every ``path``."""
    loras = settings.get("lora")
    if not isinstance(loras, list):
        return settings
    named = [
        {"name": entry.get("path"), "scale": entry.get("scale")} for entry in loras if isinstance(entry, dict)
    ]
    return settings | {"lora": named}
