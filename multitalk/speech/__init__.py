"""Text to speech: a script in, one track per person out. An engine is one file and a line in ``ENGINES``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..media.sound import Sound
from . import espeak
from .script import Turn, read_script

if TYPE_CHECKING:
    from ..request import Speech

TURN_PAUSE = 0.3  # seconds between two turns


class Engine(Protocol):
    """What a speech engine's module has."""

    DEFAULT_VOICES: Mapping[str, str]  # by person

    def voices(self) -> tuple[str, ...]:
        """Names of its voices."""

    def synthesize(self, text: str, voice: str, language: str = "a", speed: float = 1.0) -> Sound:
        """Say a text with one channel; :class:`multitalk.errors.InvalidInput` for what it can't."""


ENGINES: dict[str, Engine] = {"espeak": espeak}  # type: ignore[dict-item]
DEFAULT_ENGINE = "espeak"


def speak(speech: Speech, untagged: str = "person1", engine: str = DEFAULT_ENGINE) -> dict[str, Sound]:
    """Say a script.

    Args:
        speech: Text, voices, language and speed.
        untagged: Who says a text without ``(s1)`` and ``(s2)``.
        engine: Name of the engine.

    Returns:
        A track per person who speaks, mono and of equal length; each is silent while the other speaks.

    Raises:
        InvalidInput: The script, a voice, the language or the speed can't be used; the sentence says which.
    """
    chosen = ENGINES[engine]
    turns = read_script(speech.text, untagged)
    voices = {**chosen.DEFAULT_VOICES, **speech.voices}
    sounds = [
        chosen.synthesize(turn.text, voices[turn.person], speech.language, speech.speed) for turn in turns
    ]
    return _arrange(turns, sounds)


def _arrange(turns: list[Turn], sounds: list[Sound]) -> dict[str, Sound]:
    rate = sounds[0].rate
    pause = round(TURN_PAUSE * rate)
    length = sum(len(sound.samples) for sound in sounds) + pause * (len(sounds) - 1)
    tracks = {person: np.zeros((length, 1), np.float32) for person in sorted({turn.person for turn in turns})}
    start = 0
    for turn, sound in zip(turns, sounds, strict=True):
        end = start + len(sound.samples)
        tracks[turn.person][start:end] = sound.samples
        start = end + pause
    return {person: Sound(samples, rate) for person, samples in tracks.items()}
