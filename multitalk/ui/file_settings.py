"""What a video's file says about its settings, as far as a request would take it."""

from __future__ import annotations

import contextlib
from collections.abc import Container
from typing import Any

from ..errors import InvalidInput
from ..request.checks import NAMED_SIZES, PEOPLE, check_boxes, check_size, check_text
from ..request.generation_request import TURNS, Speech
from ..request.numbers import NUMBERS
from ..request.parts import CACHES
from ..request.presets import PRESETS

READ_LETTERS = 5000  # of a prompt


def parse_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """What a file says about its settings, as far as the page's fields can show it.

    A file can come from anywhere and have anything in it: only values that a request would take are used.
    """
    found = _numbers(settings) | _prompts(settings) | _voices(settings)
    for name, choices in (("preset", PRESETS), ("turns", TURNS)):
        if _is_name(settings.get(name), choices):
            found[name] = settings[name]
    if "turns" in found:
        found["turns"] = TURNS[found["turns"]]
    if settings.get("people") in (1, 2):
        found["people"] = settings["people"]
    if isinstance(settings.get("apg"), bool):
        found["apg"] = settings["apg"]
    if "cache" in settings:
        cache = settings["cache"]
        used = cache.get("name") if isinstance(cache, dict) else None
        found["cache"] = used if _is_name(used, CACHES) else ""
    found |= _boxes(settings)
    if unshown := _unshown(settings):
        found["unshown"] = unshown
    size = settings.get("size")
    if _is_name(size, NAMED_SIZES) or isinstance(size, list):
        with contextlib.suppress(InvalidInput):
            found["size"] = check_size(size)
    return found


def _is_name(value: Any, names: Container[str]) -> bool:
    return isinstance(value, str) and value in names  # a list can't be looked up in a dict


def _numbers(settings: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, numbers in NUMBERS.items():
        if name in settings:
            with contextlib.suppress(InvalidInput):
                found[name] = numbers.check(settings[name], name)
    return found


def _prompts(settings: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name in ("prompt", "negative_prompt"):
        if isinstance(settings.get(name), str):
            with contextlib.suppress(InvalidInput):
                found[name] = check_text(settings[name][:READ_LETTERS], name)
    return found


def _boxes(settings: dict[str, Any]) -> dict[str, Any]:
    """``boxes``, and the ``image_size`` (width, height) of the picture that they are in."""
    size = settings.get("image_size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int for side in size):
        return {}
    with contextlib.suppress(InvalidInput):
        if boxes := check_boxes(settings.get("boxes"), (size[0], size[1])):
            return {"boxes": boxes, "image_size": tuple(size)}
    return {}


def _unshown(settings: dict[str, Any]) -> tuple[str, ...]:
    """What the file has that the page has no field for, in people's words."""
    cache = settings.get("cache")
    own = isinstance(cache, dict) and len(cache) > 1
    return ("LoRAs",) * bool(settings.get("lora")) + ("its cache's own settings",) * own


def _voices(settings: dict[str, Any]) -> dict[str, Any]:
    """``speech`` as a Speech, ``spoken`` as a tuple of people, ``said`` as a Speech by person."""
    found: dict[str, Any] = {}
    if (speech := _speech(settings.get("speech"))) is not None:
        found["speech"] = speech
    if isinstance(spoken := settings.get("spoken"), list):
        found["spoken"] = tuple(person for person in PEOPLE if person in spoken)
    if isinstance(said := settings.get("said"), dict):
        own = {person: _speech(said.get(person)) for person in PEOPLE}
        found["said"] = {person: speech for person, speech in own.items() if speech is not None}
    return found


def _speech(value: Any) -> Speech | None:
    if not isinstance(value, dict):
        return None
    try:
        return Speech.checked(value)
    except InvalidInput:
        return None
