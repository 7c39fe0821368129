"""Restore the form's fields from the settings of a finished video."""

from __future__ import annotations

from collections.abc import Collection
from html import escape
from typing import Any
from uuid import uuid4

import gradio as gr

from ..request.parts import Speech
from ..request.script import PAIR, PEOPLE, read_script, tagged_people
from . import options
from .automatic import automatic_values
from .fields import NAMES, each
from .file_origin import FileFacts
from .file_settings import parse_settings
from .loras import restored_loras
from .worker import ModelWorker

RESTORED = (
    *("prompt", "negative_prompt", "preset", "size", "height", "width", "seed", "steps", "shift"),
    *("text_guidance", "audio_guidance", "cache", "threshold", "apg", "color_correction", "model", "vae"),
    *("label", "label_text", "label_corner"),
    *("frames_per_clip", "motion_frames", "max_seconds", "mode", "script", "speed", "pause"),
    *each("source", "text"),
    *each("voice", "language", "scale", people=PEOPLE),
    *("isolate_voice", "loras"),
)
NOTHING = [gr.skip()] * (len(RESTORED) + 1)  # restored: the fields and the boxes stay
RESTORED_TEXT = "settings restored."
ADD_TEXT = "Add {}: the file does not contain {}."
KEPT_TEXT = "{} in the form: kept from before. Replace {} if this video used another."
LORAS_TEXT = "Add these LoRAs again: {}."
BOXES_TEXT = "The boxes are restored with the image."
OMITTED_TEXT = "Not restored, since the form has no field for it: {}."


def restored_values(file: FileFacts, worker: ModelWorker, files: Collection[str] = ()) -> list[Any]:
    """Return the fields' new values in the order of ``RESTORED``, the boxes, and a message.

    Args:
        file: A video, with or without settings.
        worker: Knows the usable presets, LoRAs and models.
        files: Names of the form's file fields that contain a file: they are kept.

    The boxes are ``{"boxes": ..., "size": (width, height) of their image, "id": ...}``, or None: see
    :mod:`multitalk.ui.faces`.
    """
    parsed = parse_settings(file.settings)
    if not parsed:
        text = f'<div role="status"><p>{escape(file.name)}: {escape(file.without_settings)}</p></div>'
        return [*NOTHING, text]
    usable = [preset.name for preset in worker.presets()]
    if usable and parsed.get("preset") not in usable:  # empty while the models load
        parsed.pop("preset", None)
    values: dict[str, Any] = {name: parsed[name] for name in RESTORED if name in parsed}
    if "color_correction" in values:
        correction = values["color_correction"]
        values["color_correction"] = options.AUTOMATIC if correction is None else f"{correction:g}"
    if "isolate_voice" in values:
        values["isolate_voice"] = next(
            label for label, value in options.ISOLATION.items() if value == values["isolate_voice"]
        )
    if isinstance(parsed.get("size"), tuple):
        values["size"] = options.CUSTOM_SIZE
        values["height"], values["width"] = parsed["size"]
    elif parsed.get("size") not in [value for _, value in options.SIZES]:
        values["size"] = options.AUTOMATIC
    values |= automatic_values(file.settings, parsed, file.seconds, worker.audio_layers())
    values |= _voices(parsed) | _audio_scales(parsed.get("audio_scale", 1.0))
    values["loras"], missing = restored_loras(parsed.get("loras", ()), worker.lora_names())
    cleared = ("max_seconds",)
    return [
        (values[name] or 0 if name in cleared else values[name]) if name in values else gr.skip()
        for name in RESTORED
    ] + [
        _boxes(parsed),
        _message(parsed, _file_texts(values, files), missing, _lost_voices(parsed, values), file),
    ]


def _message(
    parsed: dict[str, Any], file_texts: list[str], missing_loras: list[str], lost: list[str], file: FileFacts
) -> str:
    steps = [*file_texts]
    if missing_loras:
        steps.append(LORAS_TEXT.format(", ".join(missing_loras)))
    if "boxes" in parsed:
        steps.append(BOXES_TEXT)
    if omitted := (*parsed.get("omitted", ()), *lost):
        steps.append(OMITTED_TEXT.format(", ".join(omitted)))
    if file.origin:
        steps.append(file.origin)
    items = "".join(f"<li>{escape(step)}</li>" for step in steps)
    title = f"{escape(file.name)}: {RESTORED_TEXT}"
    return f'<div role="status"><p class="good">{title}</p><ul>{items}</ul></div>'


def _file_texts(values: dict[str, Any], files: Collection[str]) -> list[str]:
    """Return what to do about the image and the audio, which no file contains."""
    needed = {"picture": "image"}
    for person in PAIR if values["mode"] in (options.IN_TURNS, options.TOGETHER) else PAIR[:1]:
        if values["mode"] != options.SCRIPT and values[f"{person}_source"] == options.SOUND:
            needed[f"{person}_sound"] = f"audio of {NAMES[person]}"
    missing = [words for name, words in needed.items() if name not in files]
    kept = [words for name, words in needed.items() if name in files]
    texts = []
    if missing:
        them = "it" if len(missing) == 1 else "them"
        texts.append(ADD_TEXT.format(" and ".join(f"the {words}" for words in missing), them))
    if kept:
        words = " and ".join(kept)
        them = "it" if len(kept) == 1 else "them"
        texts.append(KEPT_TEXT.format(words[:1].upper() + words[1:], them))
    return texts


def _lost_voices(parsed: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """Return the voices that the form has no field for."""
    shown = tagged_people(values["script"]) if values["mode"] == options.SCRIPT else PAIR
    return [f"the voice of {NAMES[person]}" for person in parsed.get("speaking", ()) if person not in shown]


def _audio_scales(scales: float | dict[str, float]) -> dict[str, float]:
    return {f"{p}_scale": scales.get(p, 1.0) if isinstance(scales, dict) else scales for p in PEOPLE}


def _boxes(parsed: dict[str, Any]) -> dict[str, Any] | None:
    if "boxes" not in parsed:
        return None
    boxes = {person: list(box) for person, box in parsed["boxes"].items()}
    return {"boxes": boxes, "size": parsed["image_size"], "id": uuid4().hex}


def _voices(parsed: dict[str, Any]) -> dict[str, Any]:
    """Return the mode and each person's source, text and voice, so that the form gives the same job."""
    in_order = parsed.get("turns") == "in_order"
    two = options.IN_TURNS if in_order else options.TOGETHER
    people = len(parsed.get("speaking", ())) or parsed.get("people", 1)  # older files count silent people too
    values: dict[str, Any] = {"mode": two if people > 1 else options.ONE}
    values |= {f"{person}_source": options.SOUND for person in PAIR}
    speech, spoken = parsed.get("speech"), parsed.get("spoken", ())
    if speech is None:
        # a file may name the people with text to speech without containing the text
        values |= {f"{person}_source": options.TEXT for person in spoken}
        for person, script in parsed.get("scripts", {}).items():
            values |= {f"{person}_source": options.TEXT, f"{person}_text": script.text}
            values |= _voice(person, script)
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
    """Return the text of each person's field; None if the text needs the dialogue script."""
    tagged = tagged_people(text)
    if len(tagged) < 2:
        return {(*spoken, *tagged, PAIR[0])[0]: text}
    turns = read_script(text)
    # two texts in turns are a script with one turn each
    if in_order and tuple(turn.person for turn in turns) == PAIR:
        return {turn.person: turn.text for turn in turns}
    return None


def _voice(person: str, speech: Speech) -> dict[str, Any]:
    return {
        f"{person}_voice": speech.voices.get(person, options.AUTOMATIC),
        f"{person}_language": speech.language_of(person),
        "speed": speech.speed,
        "pause": speech.pause,
    }
