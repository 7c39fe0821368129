"""The parts of a request that have fields of their own: words to say, a LoRA."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from .request_checks import (
    Range,
    check_language,
    check_lora_file,
    check_names,
    check_speech_text,
    check_voices,
)

DEFAULT_LANGUAGE = "a"  # of speech: American English


class Strict(BaseModel):
    """A frozen model that names the nearest field where one is unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _check_field_names(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            check_names(data, cls.model_fields, f"field of {cls.__name__}")
        return data


class LoraSpec(Strict):
    """A LoRA on top of the preset's.

    Attributes:
        path: A .safetensors file.
        scale: Its strength.
    """

    path: Path
    scale: float = 1.0

    @field_validator("path", mode="before")
    @classmethod
    def _check_path(cls, value: Any) -> Path:
        return check_lora_file(value)

    @field_validator("scale", mode="before")
    @classmethod
    def _check_scale(cls, value: Any) -> Any:
        return Range(-100, 100).check(value, "lora.scale")


class Speech(Strict):
    """Words instead of a sound.

    Attributes:
        text: What is said; ``(s1) ... (s2) ...`` gives turns to two people, and a line break is a pause.
        voices: Voice by person, or voices mixed by weights ("af_heart:0.6+af_bella:0.4"); people without one
            get the engine's default.
        language: The engine's code, such as "a" for American English; one for everybody, or by person.
        speed: 1 is the voice's own.
        pause: Seconds of silence between two turns.
    """

    text: str
    voices: dict[str, str] = {}
    language: str | dict[str, str] = DEFAULT_LANGUAGE
    speed: float = 1.0
    pause: float = 0.3

    @field_validator("text", mode="before")
    @classmethod
    def _check_text(cls, value: Any) -> str:
        return check_speech_text(value)

    @field_validator("voices", mode="before")
    @classmethod
    def _check_voices(cls, value: Any) -> dict[str, str]:
        return check_voices(value)

    @field_validator("language", mode="before")
    @classmethod
    def _check_language(cls, value: Any) -> str | dict[str, str]:
        return check_language(value)

    @field_validator("speed", mode="before")
    @classmethod
    def _check_speed(cls, value: Any) -> Any:
        return Range(0.25, 4).check(value, "speech.speed")

    @field_validator("pause", mode="before")
    @classmethod
    def _check_pause(cls, value: Any) -> Any:
        return Range(0, 10).check(value, "speech.pause")

    def language_of(self, person: str) -> str:
        """The language a person speaks."""
        if isinstance(self.language, str):
            return self.language
        return self.language.get(person, DEFAULT_LANGUAGE)
