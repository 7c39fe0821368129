"""From what a program gives to ``generate`` to a request: files are uploaded, never named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..request.generation_request import GenerationRequest
from ..request.numbers import shown

# A path in the settings would be read with the server's rights, whosever file it is.
UPLOADED = {"image": "image", "audio": "audio1 and audio2"}
EMPTY: tuple[Any, ...] = (None, "", {}, [])

FindLora = Callable[[Any], Path]


def build_request(
    image: str | None, sounds: dict[str, str], given: dict[str, Any], settings: Any, find_lora: FindLora
) -> GenerationRequest:
    """A request of what was given; what was left empty is left to its defaults.

    Args:
        image: The uploaded picture.
        sounds: Uploaded sounds by person.
        given: The function's other arguments.
        settings: Any other fields of a request; they go before `given`.
        find_lora: The file of a LoRA that is called by its name.

    Raises:
        MultiTalkError: Something is missing or can't be used.
    """
    if image is None:
        raise InvalidInput("image is missing.", "image")
    kept = {
        name: value
        for name, value in {**given, **_checked(settings)}.items()
        if value not in EMPTY or name == "seed"  # null could mean any seed, or the usual one
    }
    if "lora" in kept:
        kept["lora"] = _known_loras(kept["lora"], find_lora)
    if sounds:
        kept["audio"] = sounds
    return GenerationRequest.checked({**kept, "image": image})


def _checked(settings: Any) -> dict[str, Any]:
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        example = '{"steps": 8}'
        raise InvalidInput(f"settings is {shown(settings)}, but must be like {example}.", "settings")
    for name, argument in UPLOADED.items():
        if name in settings:
            raise InvalidInput(f"settings has {name}: give files in {argument}, as uploads.", name)
    return settings


def _known_loras(value: Any, find_lora: FindLora) -> list[Any]:
    known: list[Any] = []
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, dict):
            known.append({**entry, "path": str(find_lora(entry.get("path")))})
        else:
            known.append(str(find_lora(entry)))
    return known
