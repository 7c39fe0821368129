"""The choices of languages and voices: by name, language and sex, the useful ones first."""

from __future__ import annotations

from ..request.voices import KOKORO_VOICES
from ..speech.engine import SpeechEngine
from ..speech.kokoro import LANGUAGE_ALIASES, KokoroEngine
from ..speech.languages import LANGUAGES, title_of
from .options import AUTOMATIC

NATURAL_VOICES = "For natural voices, run: multitalk fetch --speech"


def voice_hint(engine: SpeechEngine) -> str | None:
    """Return how to get better voices than the engine's, if there are."""
    return None if isinstance(engine, KokoroEngine) else NATURAL_VOICES


def language_choices(engine: SpeechEngine) -> list[tuple[str, str]]:
    """Return the engine's languages: the most common ones first, the others by name."""
    codes = [code for code in engine.languages() if code not in LANGUAGE_ALIASES]  # the same as a letter
    common = [(title_of(engine, code), code) for code in LANGUAGES if code in codes]
    others = [(f"{title_of(engine, code)} ({code})", code) for code in codes if code not in LANGUAGES]
    return common + sorted(others)


def voice_choices(engine: SpeechEngine) -> list[tuple[str, str]]:
    """Return the voices: automatic, the best ones, those whose sex is known, the others."""
    best = engine.best_voices()

    def rank(voice: str) -> tuple[bool, bool, int, str]:
        return voice not in best, not engine.voice_sex(voice), _order(voice), voice.lower()

    voices = sorted(engine.voices(), key=rank)
    return [("Automatic", AUTOMATIC), *((_voice_title(engine, voice), voice) for voice in voices)]


def _order(voice: str) -> int:
    """Return the position of a Kokoro voice's language."""
    return list(LANGUAGES).index(voice[0]) if voice in KOKORO_VOICES else 0


def _voice_title(engine: SpeechEngine, voice: str) -> str:
    """Return a title such as "Heart, woman, English, American (af_heart)"; all of it can be searched for."""
    sex = engine.voice_sex(voice)
    if voice in KOKORO_VOICES:
        return f"{voice[3:].capitalize()}, {sex}, {LANGUAGES[voice[0]]} ({voice})"
    name = voice[:1].upper() + voice[1:]
    return f"{name}, {sex}" if sex else name
