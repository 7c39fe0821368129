"""Visibility of the fields for voices, and the name of each person's voice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import fields, options

VOICE_PARTS: tuple[str, ...] = ("script_group", "person2_tab", "person2_error", "person2_scale")
VOICE_PARTS += ("speech_row", "hear")
VOICE_PARTS += fields.each("source", "sound_group", "words", "voice_row")
THIRD = fields.PEOPLE[len(fields.PAIR) :]  # and fourth: only in a dialogue
VOICE_PARTS += (*fields.each("tab", people=THIRD), "more_scales")


def voice_parts(mode: str, source1: str, source2: str, speakers: int) -> dict[str, dict[str, Any]]:
    """Return the visibility of each part, in the order of ``VOICE_PARTS``."""
    script = mode == options.SCRIPT
    text = {1: source1 == options.TEXT, 2: source2 == options.TEXT and mode != options.ONE}
    any_text = script or any(text.values())
    visible = {
        "script_group": script,
        "person2_tab": mode != options.ONE,
        "person2_error": mode != options.ONE,
        "person2_scale": mode != options.ONE,
        "speech_row": any_text,
        "hear": any_text,
    }
    for n in (1, 2):
        visible[f"person{n}_source"] = not script  # a dialogue is always spoken text
        visible[f"person{n}_sound_group"] = not script and not text[n]
        visible[f"person{n}_words"] = not script and text[n]
        visible[f"person{n}_voice_row"] = script or text[n]
    for person in THIRD:
        visible[f"{person}_tab"] = script and int(person[-1]) <= speakers
    visible["more_scales"] = visible[f"{THIRD[0]}_tab"]
    return {
        name: {"visible": visible[name] or ("hidden" if not name.endswith("_tab") else False)}
        for name in VOICE_PARTS
    }


def voice_names(form: dict[str, Any]) -> dict[str, str]:
    """Return each person's voice or audio file, for the labels of the boxes."""
    names = {}
    spoken = fields.text_speakers(form)
    for person in fields.speakers(form):
        if person in spoken:
            names[person] = form[f"{person}_voice"] or "text to speech"
        elif form[f"{person}_sound"]:
            names[person] = Path(form[f"{person}_sound"]).name
    return names
