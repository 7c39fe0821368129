"""Parse the settings in a video's metadata, dropping invalid values."""

from __future__ import annotations

import contextlib
from collections.abc import Container
from typing import Any

from ..errors import InvalidInput
from ..request.checks import NAMED_SIZES, check_audio_scale, check_boxes, check_size, check_text
from ..request.fields import TURNS, VAES
from ..request.model_kinds import MODELS
from ..request.numbers import NUMBERS
from ..request.parts import INTERVAL, LORA_SCALE, MAX_SKIP_STEPS, ORDER, CacheSpec, LabelSpec, Speech
from ..request.presets import PRESETS
from ..request.script import PEOPLE
from .options import NO_CACHE, TEACACHE

MAX_LORA_NAME = 255  # letters
# Options of caches that the form has no field for.
CACHE_DEFAULTS = {"ratios": None, "max_skip_steps": MAX_SKIP_STEPS, "interval": INTERVAL, "order": ORDER}


def parse_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the valid settings of a file that the form can show.

    A file can come from anywhere and contain anything: only values that are valid in a request are used.
    """
    parsed = _numbers(settings) | _prompts(settings) | _voices(settings)
    for name, choices in (("preset", PRESETS), ("turns", TURNS), ("model", MODELS), ("vae", VAES)):
        if _is_name(settings.get(name), choices):
            parsed[name] = settings[name]
    if "turns" in parsed:
        parsed["turns"] = TURNS[parsed["turns"]]
    if settings.get("people") in range(1, len(PEOPLE) + 1):
        parsed["people"] = settings["people"]
    if isinstance(settings.get("apg"), bool):
        parsed["apg"] = settings["apg"]
    isolation = settings.get("isolate_voice")
    if isolation == "auto" or isinstance(isolation, bool):
        parsed["isolate_voice"] = isolation
    if "audio_scale" in settings:
        with contextlib.suppress(InvalidInput):
            parsed["audio_scale"] = check_audio_scale(settings["audio_scale"])
    parsed |= _cache(settings)
    parsed |= _label(settings)
    parsed |= _boxes(settings)
    if loras := parse_loras(settings.get("lora")):
        parsed["loras"] = loras
    if omitted := _omitted(settings):
        parsed["omitted"] = omitted
    size = settings.get("size")
    if _is_name(size, NAMED_SIZES) or isinstance(size, list):
        with contextlib.suppress(InvalidInput):
            parsed["size"] = check_size(size)
    return parsed


def _is_name(value: Any, names: Container[str]) -> bool:
    return isinstance(value, str) and value in names  # a list cannot be looked up in a dict


def _numbers(settings: dict[str, Any]) -> dict[str, Any]:
    parsed = {}
    for name, numbers in NUMBERS.items():
        if name in settings:
            with contextlib.suppress(InvalidInput):
                parsed[name] = numbers.check(settings[name], name)
    return parsed


def _prompts(settings: dict[str, Any]) -> dict[str, Any]:
    parsed = {}
    for name in ("prompt", "negative_prompt"):
        if isinstance(settings.get(name), str):
            with contextlib.suppress(InvalidInput):
                parsed[name] = check_text(settings[name], name)
    return parsed


def _boxes(settings: dict[str, Any]) -> dict[str, Any]:
    """Return ``boxes``, and the ``image_size`` (width, height) of their image."""
    size = settings.get("image_size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int for side in size):
        return {}
    with contextlib.suppress(InvalidInput):
        if boxes := check_boxes(settings.get("boxes"), (size[0], size[1])):
            return {"boxes": boxes, "image_size": tuple(size)}
    return {}


def _omitted(settings: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of settings that the form has no field for."""
    omitted = ["the video to dub"] if "dub" in settings else []
    if "join" in settings:
        omitted.append("the video to continue")
    cache = settings["cache"] if isinstance(settings.get("cache"), dict) else {}
    if any(cache.get(name, default) != default for name, default in CACHE_DEFAULTS.items()):
        omitted.append("options of Skip steps")
    return tuple(omitted)


def _cache(settings: dict[str, Any]) -> dict[str, Any]:
    """Return ``cache``, as in the form, and ``threshold``."""
    with contextlib.suppress(InvalidInput):
        if threshold := NUMBERS["teacache"].check(settings.get("teacache"), "teacache"):
            return {"cache": TEACACHE, "threshold": threshold}
        if isinstance(settings.get("cache"), dict):
            names = ("name", "threshold")
            spec = CacheSpec.checked({k: v for k, v in settings["cache"].items() if k in names})
            return {"cache": spec.name, "threshold": spec.threshold}
    return {"cache": NO_CACHE, "threshold": 0} if {"cache", "teacache"} & settings.keys() else {}


def _label(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the form's three fields of the visible label."""
    label = settings.get("label")
    if label is None:
        return {"label": False} if "label" in settings else {}
    with contextlib.suppress(InvalidInput):
        if isinstance(label, dict):
            spec = LabelSpec.checked(label)
            return {"label": True, "label_text": spec.text, "label_corner": spec.corner}
    return {}


def parse_loras(value: Any) -> list[tuple[str, float]]:
    """Return the names and scales of a file's LoRAs."""
    loras = []
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("path"), str):
            with contextlib.suppress(InvalidInput):
                scale = LORA_SCALE.check(entry.get("scale", 1.0), "lora.scale")
                loras.append((entry["path"][:MAX_LORA_NAME], float(scale or 0)))
    return loras


def _voices(settings: dict[str, Any]) -> dict[str, Any]:
    """Return ``speech``, ``speaking`` and ``spoken`` (people) and ``scripts`` (Speech by person; "said")."""
    parsed: dict[str, Any] = {}
    if (speech := _speech(settings.get("speech"))) is not None:
        parsed["speech"] = speech
    for name in ("speaking", "spoken"):
        if isinstance(named := settings.get(name), list):
            parsed[name] = tuple(person for person in PEOPLE if person in named)
    if isinstance(saved := settings.get("said"), dict):
        scripts = {person: _speech(saved.get(person)) for person in PEOPLE}
        parsed["scripts"] = {person: speech for person, speech in scripts.items() if speech is not None}
    return parsed


def _speech(value: Any) -> Speech | None:
    if not isinstance(value, dict):
        return None
    try:
        return Speech.checked(value)
    except InvalidInput:
        return None
