"""The parts of a request that have fields of their own: words to say, a LoRA, a cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import InvalidInput
from .checks import (
    Range,
    UnknownName,
    check_choice,
    check_language,
    check_lora_file,
    check_names,
    check_speech_text,
    check_voices,
    shown,
)

DEFAULT_LANGUAGE = "a"  # of speech: American English
# diffusers' caches and the thresholds they usually run with
CACHES = {"first_block": 0.05, "magcache": 0.06}


class Strict(BaseModel):
    """A frozen model that names the nearest field where one is unknown."""

    called: ClassVar[str] = "a request"  # what sentences call it

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _check_field_names(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            check_names(data, cls.model_fields, f"field of {cls.called}")
        return data

    @classmethod
    def checked(cls, fields: Mapping[str, Any]) -> Self:
        """One of these, made of plain values.

        Raises:
            InvalidInput: One sentence about the first field that can't be used.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise describe_error(error) from None


def describe_error(error: ValidationError) -> InvalidInput:
    """The first problem of a request as one sentence, with the field it is about."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    field = ".".join(str(part) for part in first["loc"]) or None
    if isinstance(cause, InvalidInput):
        if isinstance(cause, UnknownName) and field:  # in a part, which doesn't know what it is a part of
            return InvalidInput(str(cause), f"{field}.{cause.field}")
        return cause
    if first["type"] == "missing":
        return InvalidInput(f"{field} is missing.", field)
    return InvalidInput(f"{field} is {shown(first['input'])}, but {first['msg'].lower()}.", field)


class LoraSpec(Strict):
    """A LoRA on top of the preset's.

    Attributes:
        path: A .safetensors file.
        scale: Its strength.
    """

    called: ClassVar[str] = "a lora"
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


class CacheSpec(Strict):
    """A cache that skips blocks of the transformer.

    Attributes:
        name: "first_block" skips the blocks behind the first while what that one does changes little from
            step to step; "magcache" skips all blocks by how much they are known to change.
        threshold: The change up to which blocks are skipped; 0 skips none. Left out: the cache's usual one.
        max_skip_steps: Of magcache: steps skipped in a row at most.
        ratios: Of magcache: the change from each step to the next, measured on the same model; stretched to
            the job's steps. None: those of Wan2.1.
    """

    called: ClassVar[str] = "cache"
    name: str
    threshold: float = Field(default_factory=lambda fields: CACHES.get(fields.get("name", ""), 0.0))
    max_skip_steps: int = 3
    ratios: tuple[float, ...] | None = None

    @field_validator("name", mode="before")
    @classmethod
    def _check_name(cls, value: Any) -> str:
        return check_choice(value, "cache.name", CACHES)

    @field_validator("threshold", mode="before")
    @classmethod
    def _check_threshold(cls, value: Any) -> Any:
        return Range(0).check(value, "cache.threshold")

    @field_validator("max_skip_steps", mode="before")
    @classmethod
    def _check_max_skip_steps(cls, value: Any) -> Any:
        return Range(1, 100, whole=True).check(value, "cache.max_skip_steps")

    @field_validator("ratios", mode="before")
    @classmethod
    def _check_ratios(cls, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or not value:
            raise InvalidInput(f"cache.ratios is {shown(value)}, but must be a list of numbers.", "cache")
        return tuple(Range(0, 100).check(ratio, "cache.ratios") for ratio in value)


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

    called: ClassVar[str] = "speech"
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
