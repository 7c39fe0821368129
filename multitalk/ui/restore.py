"""A finished video's settings, back in the page's fields."""

from __future__ import annotations

from typing import Any

import gradio as gr

from . import options, parts
from .backend import parse_settings
from .worker import ModelWorker

RESTORED = (
    *("prompt", "negative_prompt", "preset", "size", "height", "width", "seed", "steps", "shift"),
    *("text_guidance", "audio_guidance", "teacache", "cache", "apg", "color_correction"),
    *("frames_per_clip", "motion_frames", "max_seconds", "mode", "script", "speed", "pause"),
    *(f"person{n}_{name}" for n in (1, 2) for name in ("source", "text", "voice", "language")),
)
SAID = "The settings are back in their fields. Add the picture and the sounds again: they aren't in the file."
NOT_FOUND = "This file has no settings in it: take an mp4 that was made here."


def restored_values(settings: dict[str, Any] | None, worker: ModelWorker) -> list[Any]:
    """The fields' new values, in the order of ``RESTORED``, and a sentence about it."""
    found = parse_settings(settings) if settings else {}
    if not found:
        return [gr.skip()] * len(RESTORED) + [parts.say_error(NOT_FOUND)]
    values: dict[str, Any] = {name: found[name] for name in RESTORED if name in found}
    if found.get("preset") not in [preset.name for preset in worker.presets()]:
        values.pop("preset", None)  # of other weights
    if isinstance(found.get("size"), tuple):
        values["size"] = options.OWN_SIZE
        values["height"], values["width"] = found["size"]
    elif found.get("size") not in [value for _, value in options.SIZES]:
        values["size"] = options.AUTOMATIC
    values |= _voices(found)
    cleared = ("teacache", "max_seconds")
    return [
        (values[name] or 0 if name in cleared else values[name]) if name in values else gr.skip()
        for name in RESTORED
    ] + [f'<p class="good" role="status">{SAID}</p>']


def _voices(found: dict[str, Any]) -> dict[str, Any]:
    two = found.get("people") == 2
    turns = options.IN_TURNS if found.get("turns") == "in_order" else options.TOGETHER
    values: dict[str, Any] = {"mode": turns if two else options.ONE}
    speech = found.get("speech")
    if speech is None:
        return values | {"person1_source": options.SOUND}
    values |= {"speed": speech.speed, "pause": speech.pause}
    for person in ("person1", "person2"):
        values[f"{person}_voice"] = speech.voices.get(person, options.AUTOMATIC)
        values[f"{person}_language"] = speech.language_of(person)
    if two:
        values |= {"mode": options.SCRIPT, "script": speech.text}
    else:
        values |= {"person1_source": options.TEXT, "person1_text": speech.text}
    return values
