"""Nested parts of a request: speech, LoRAs, caches and the visible label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ..errors import InvalidInput
from ..marks.label import CORNERS, DEFAULT_CORNER, DEFAULT_TEXT, Label, check_label_text
from .checks import (
    UnknownName,
    check_choice,
    check_language,
    check_lora_file,
    check_names,
    check_speech_text,
    check_text,
    check_voices,
)
from .numbers import Range, shown

DEFAULT_LANGUAGE = "a"  # speech language code (default: a, American English)
# Default threshold of each cache; TaylorSeer has none.
CACHES = {"first_block": 0.05, "magcache": 0.06, "taylorseer": 0.0}
MAX_SKIP_STEPS = 3
# Of TaylorSeer: one of so many steps is computed, and the degree of the polynomial between them.
INTERVAL, ORDER = 3, 1
MAX_ORDER = 3
UP_TO_100 = Range(1, 100, whole=True)
LORA_SCALE = Range(-100, 100)


class Strict(BaseModel):
    """A frozen model; an unknown field is an error that suggests the most similar one."""

    kind: ClassVar[str] = "a request"  # in errors
    aliases: ClassVar[Iterable[str]] = ()  # suggested in errors

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _check_field_names(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            data = cls._rename(data)
            check_names(data, cls.model_fields, f"field of {cls.kind}", cls.aliases)
        return data

    @classmethod
    def _rename(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Replace aliases by the names of fields."""
        return data

    @classmethod
    def checked(cls, fields: Mapping[str, Any]) -> Self:
        """Build the model from plain values.

        Raises:
            InvalidInput: One sentence about the first invalid field.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            message, field = describe_error(error)
        # Not raised above, and not the exception in the ValidationError: a cycle through an object of
        # pydantic-core is never collected, and would keep all values of the request in memory.
        raise InvalidInput(message, field)


def as_part(value: Any, part: type[Strict], key: str, accepted: str) -> Any:
    """Return the value of a part of a request; text stands for one of its fields.

    Args:
        value: Text, a mapping, the part or None.
        part: Its class.
        key: The field that text stands for.
        accepted: What the value may be, for the error.
    """
    if isinstance(value, str):
        return {key: value}
    if value is not None and not isinstance(value, (Mapping, part)):
        raise InvalidInput(f"{part.kind} must be {accepted}, not {shown(value)}.", part.kind)
    return value


def describe_error(error: ValidationError) -> tuple[str, str | None]:
    """Return one sentence about the first error of a validation, and its field."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    field = ".".join(str(part) for part in first["loc"]) or None
    if isinstance(cause, InvalidInput):
        if isinstance(cause, UnknownName) and field:  # add the part's field
            return str(cause), f"{field}.{cause.field}"
        return str(cause), cause.field
    if first["type"] == "missing":
        names = [str(part) for part in first["loc"] if isinstance(part, str)]
        return f"{': '.join(names)} is missing.", field
    return f"{field} is invalid ({shown(first['input'])}): {first['msg'].lower()}.", field


def _in(accepted: Range, field: str) -> BeforeValidator:
    return BeforeValidator(lambda value: accepted.check(value, field))


def _one_of(names: Iterable[str], field: str) -> BeforeValidator:
    return BeforeValidator(lambda value: check_choice(value, field, names))


def _check_ratios(value: Any) -> tuple[Any, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidInput(f"cache ratios must be a list of numbers, not {shown(value)}.", "cache")
    return tuple(Range(0, 100).check(ratio, "cache.ratios") for ratio in value)


class LoraSpec(Strict):
    """A LoRA, added to that of the preset.

    Attributes:
        path: A .safetensors file.
        scale: Scale of the LoRA.
    """

    kind: ClassVar[str] = "lora"
    path: Annotated[Path, BeforeValidator(check_lora_file)]
    scale: Annotated[float, _in(LORA_SCALE, "lora.scale")] = 1.0


class CacheSpec(Strict):
    """A cache that skips transformer blocks, or whole model calls.

    Attributes:
        name: "first_block" skips all blocks after the first while the first block's residual changes little
            from step to step; "magcache" skips all blocks, based on magnitude ratios measured beforehand;
            "taylorseer" extrapolates the transformer's output from earlier steps.
        threshold: Largest change for which blocks are skipped; 0 skips none. Default: see ``CACHES``. Not for
            taylorseer.
        max_skip_steps: For magcache: maximum number of consecutive skipped steps.
        ratios: For magcache: magnitude ratio of each step to the one before, measured on the same model, and
            interpolated to the job's steps. None: those of Wan2.1.
        interval: For taylorseer: one of so many steps is computed; 1 computes all.
        order: For taylorseer: degree of the extrapolated polynomial; 0 repeats the last output.
    """

    kind: ClassVar[str] = "cache"
    name: Annotated[str, _one_of(CACHES, "cache.name")]
    threshold: Annotated[float, _in(Range(0), "cache.threshold")] = Field(
        default_factory=lambda fields: CACHES.get(fields.get("name", ""), 0.0)
    )
    max_skip_steps: Annotated[int, _in(UP_TO_100, "cache.max_skip_steps")] = MAX_SKIP_STEPS
    ratios: Annotated[tuple[float, ...] | None, BeforeValidator(_check_ratios)] = None
    interval: Annotated[int, _in(UP_TO_100, "cache.interval")] = INTERVAL
    order: Annotated[int, _in(Range(0, MAX_ORDER, whole=True), "cache.order")] = ORDER

    @model_validator(mode="after")
    def _check_together(self) -> CacheSpec:
        if self.name == "taylorseer" and self.threshold:
            raise InvalidInput(
                f"cache threshold is not for taylorseer ({shown(self.threshold)}). Set its interval.",
                "cache",
            )
        return self


class LabelSpec(Strict):
    """A visible label in a corner of the video.

    Attributes:
        text: One line of at most 60 characters.
        corner: A name in ``multitalk.marks.label.CORNERS``.
    """

    kind: ClassVar[str] = "label"
    text: Annotated[str, BeforeValidator(lambda value: check_label_text(check_text(value, "label.text")))] = (
        DEFAULT_TEXT
    )
    corner: Annotated[str, _one_of(CORNERS, "label.corner")] = DEFAULT_CORNER

    def drawable(self) -> Label:
        """Return what draws the label."""
        return Label(self.text, self.corner)


class Speech(Strict):
    """Text to speech, instead of an audio file.

    Attributes:
        text: Text to say; ``(s1) ... (s2) ...`` are turns of two speakers, a line break is a pause.
        voices: Voice by person, or a weighted mix of voices ("af_heart:0.6+af_bella:0.4"). Default: the
            engine's default voices.
        language: Speech language code (default: a, American English), for all speakers or by person.
        speed: Speaking rate; 1 is normal.
        pause: Seconds of silence between two turns.
    """

    kind: ClassVar[str] = "speech"
    text: Annotated[str, BeforeValidator(check_speech_text)]
    voices: Annotated[dict[str, str], BeforeValidator(check_voices)] = {}
    language: Annotated[str | dict[str, str], BeforeValidator(check_language)] = DEFAULT_LANGUAGE
    speed: Annotated[float, _in(Range(0.25, 4), "speech.speed")] = 1.0
    pause: Annotated[float, _in(Range(0, 10), "speech.pause")] = 0.3

    def language_of(self, person: str) -> str:
        """Return a speaker's language code."""
        if isinstance(self.language, str):
            return self.language
        return self.language.get(person, DEFAULT_LANGUAGE)
