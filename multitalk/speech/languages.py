"""Names of languages; those listed here are offered first."""

from __future__ import annotations

from .engine import SpeechEngine

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


def title_of(engine: SpeechEngine, code: str) -> str:
    """Return the name of an engine's language."""
    return LANGUAGES.get(code) or engine.language_title(code)
