"""A finished video's settings, back in the page's fields."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import gradio as gr

from ..request.generation_request import Speech
from ..request.script import PEOPLE, read_script, tagged_people
from . import options, parts
from .file_settings import parse_settings
from .worker import ModelWorker

RESTORED = (
    *("prompt", "negative_prompt", "preset", "size", "height", "width", "seed", "steps", "shift"),
    *("text_guidance", "audio_guidance", "teacache", "cache", "apg", "color_correction"),
    *("frames_per_clip", "motion_frames", "max_seconds", "mode", "script", "speed", "pause"),
    *(f"person{n}_{name}" for n in (1, 2) for name in ("source", "text", "voice", "language")),
)
SAID = "The settings are back in their fields. Add the picture and the sounds again: they aren't in the file."
BOXES_SAID = "The boxes come back with the picture."
UNSHOWN_SAID = "It was also made with {}, which this page has no field for."
NOT_FOUND = "This file has no settings in it: take an mp4 that was made here."


def restored_values(settings: dict[str, Any] | None, worker: ModelWorker) -> list[Any]:
    """The fields' new values, in the order of ``RESTORED``; a sentence about it; and the boxes.

    These are ``{"boxes": ..., "size": (width, height) of their picture, "id": ...}``, or None: see
    :mod:`multitalk.ui.people_editor`.
    """
    found = parse_settings(settings) if settings else {}
    if not found:
        return [gr.skip()] * len(RESTORED) + [parts.say_error(NOT_FOUND), gr.skip()]
    values: dict[str, Any] = {name: found[name] for name in RESTORED if name in found}
    usable = [preset.name for preset in worker.presets()]
    if usable and found.get("preset") not in usable:  # while the models load, none is known yet
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
    ] + [f'<p class="good" role="status">{_sentence(found)}</p>', _boxes(found)]


def _sentence(found: dict[str, Any]) -> str:
    said = [SAID]
    if "boxes" in found:
        said.append(BOXES_SAID)
    if unshown := found.get("unshown"):
        said.append(UNSHOWN_SAID.format(" and ".join(unshown)))
    return " ".join(said)


def _boxes(found: dict[str, Any]) -> dict[str, Any] | None:
    if "boxes" not in found:
        return None
    boxes = {person: list(box) for person, box in found["boxes"].items()}
    return {"boxes": boxes, "size": found["image_size"], "id": uuid4().hex}


def _voices(found: dict[str, Any]) -> dict[str, Any]:
    """Who speaks, and with what: the fields that make the same job again."""
    in_order = found.get("turns") == "in_order"
    two = options.IN_TURNS if in_order else options.TOGETHER
    values: dict[str, Any] = {"mode": two if found.get("people") == 2 else options.ONE}
    values |= {f"{person}_source": options.SOUND for person in PEOPLE}
    speech, spoken = found.get("speech"), found.get("spoken", ())
    if speech is None:
        # a file may tell who had words without telling them
        values |= {f"{person}_source": options.TEXT for person in spoken}
        for person, own in found.get("said", {}).items():
            values |= {f"{person}_source": options.TEXT, f"{person}_text": own.text, **_voice(person, own)}
        return values
    for person in PEOPLE:
        values |= _voice(person, speech)
    texts = _texts(speech.text, spoken, in_order)
    if texts is None:
        return values | {"mode": options.SCRIPT, "script": speech.text}
    for person, text in texts.items():
        values |= {f"{person}_source": options.TEXT, f"{person}_text": text}
    return values


def _texts(text: str, spoken: tuple[str, ...], in_order: bool) -> dict[str, str] | None:
    """Each person's words as the page's fields for them take them; None where that takes a dialogue."""
    tagged = tagged_people(text)
    if len(tagged) < 2:
        return {(*spoken, *tagged, PEOPLE[0])[0]: text}
    turns = read_script(text)
    # two texts in turns were made into a script of one turn each
    if in_order and tuple(turn.person for turn in turns) == PEOPLE:
        return {turn.person: turn.text for turn in turns}
    return None


def _voice(person: str, speech: Speech) -> dict[str, Any]:
    return {
        f"{person}_voice": speech.voices.get(person, options.AUTOMATIC),
        f"{person}_language": speech.language_of(person),
        "speed": speech.speed,
        "pause": speech.pause,
    }
