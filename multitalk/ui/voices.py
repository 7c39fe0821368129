"""What of the voices' section is shown, and what each person speaks with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import fields, options

VOICE_PARTS: tuple[str, ...] = ("script_group", "person2_tab", "person2_error", "speech_row", "hear")
VOICE_PARTS += tuple(f"person{n}_{part}" for n in (1, 2) for part in ("sound_group", "words", "voice_row"))


def voice_parts(mode: str, source1: str, source2: str) -> dict[str, dict[str, Any]]:
    """Which parts of the voices' section are shown, in the order of ``VOICE_PARTS``."""
    script = mode == options.SCRIPT
    words = {1: source1 == options.TEXT, 2: source2 == options.TEXT and mode != options.ONE}
    any_words = script or any(words.values())
    shown = {
        "script_group": script,
        "person2_tab": mode != options.ONE,
        "person2_error": mode != options.ONE,
        "speech_row": any_words,
        "hear": any_words,
    }
    for n in (1, 2):
        shown[f"person{n}_sound_group"] = not script and not words[n]
        shown[f"person{n}_words"] = not script and words[n]
        shown[f"person{n}_voice_row"] = script or words[n]
    return {
        name: {"visible": shown[name] or ("hidden" if name != "person2_tab" else False)}
        for name in VOICE_PARTS
    }


def voice_names(form: dict[str, Any]) -> dict[str, str]:
    """What each person speaks with, for the boxes."""
    who = fields.speakers(form)
    names = {}
    for person in fields.PEOPLE:
        if person in who:
            names[person] = form[f"{person}_voice"] or "spoken words"
        elif form[f"{person}_sound"]:
            names[person] = Path(form[f"{person}_sound"]).name
    return names
