"""What the page offers to choose from, in people's words."""

from __future__ import annotations

from ..request.presets import Preset
from ..speech.engine import SpeechEngine

ONE, TOGETHER, IN_TURNS, SCRIPT = "one", "together", "in_order", "script"
MODES = [
    ("One person", ONE),
    ("Two, in turns", IN_TURNS),
    ("Two, together", TOGETHER),
    ("A dialogue", SCRIPT),
]
SOUND, TEXT = "sound", "text"
SOURCES = [("A sound", SOUND), ("Words to say", TEXT)]
AUTOMATIC = ""
OWN_SIZE = "own"
SIZES = [
    ("Automatic", AUTOMATIC),
    ("480p, the picture's shape", "480p"),
    ("720p, the picture's shape", "720p"),
    ("480p, the reference's shapes", "480p-bucket"),
    ("720p, the reference's shapes", "720p-bucket"),
    ("My own height and width", OWN_SIZE),
]
NO_CACHE = ""
CACHES = [("None", NO_CACHE), ("First block", "first_block"), ("MagCache", "magcache")]
PRESET_TITLES = {"quality": "Best quality", "fusionx": "Fast", "lightx2v": "Fastest", "demo": "Demo"}
LANGUAGES = {
    "a": "English, American",
    "b": "English, British",
    "e": "Spanish",
    "f": "French",
    "h": "Hindi",
    "i": "Italian",
    "j": "Japanese",
    "p": "Portuguese, Brazilian",
    "z": "Chinese, Mandarin",
    "de": "German",
    "nl": "Dutch",
    "pl": "Polish",
    "ru": "Russian",
    "sv": "Swedish",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ar": "Arabic",
    "ko": "Korean",
}
SCRIPT_SAMPLE = (
    "(s1) Hello! How are you today?\n(s2) Very well, thank you. And you?\n(s1) I feel like talking."
)


def preset_choices(presets: list[Preset], times: dict[str, str]) -> list[tuple[str, str]]:
    """Presets with their sentence and, where it is known, the time for the input.

    Args:
        presets: What the weights can run; empty while they load.
        times: By preset.
    """
    if not presets:
        return [("What these weights are best at (more choices when they are loaded)", AUTOMATIC)]
    choices = []
    for preset in presets:
        title = PRESET_TITLES.get(preset.name, preset.name)
        time = f" · {times[preset.name]}" if preset.name in times else ""
        choices.append((f"{title}{time} — {preset.description}", preset.name))
    return choices


def language_choices(engine: SpeechEngine | None) -> list[tuple[str, str]]:
    """Languages by name, those with a name first."""
    codes = engine.languages() if engine is not None else ("a",)
    named = [(LANGUAGES[code], code) for code in codes if code in LANGUAGES]
    return named + [(code, code) for code in codes if code not in LANGUAGES]


def voice_choices(engine: SpeechEngine | None) -> list[tuple[str, str]]:
    """Voices by name, after the one that is chosen for people."""
    voices = engine.voices() if engine is not None else ()
    return [("Automatic", AUTOMATIC), *((voice, voice) for voice in voices)]
