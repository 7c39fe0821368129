"""Names of the languages that are offered first."""

from __future__ import annotations

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
