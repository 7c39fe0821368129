"""Checks of single values in a request: each returns the value that the pipeline uses, or raises an error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..marks.settings import POLICY, REQUIRED, read_policy
from ..media.files import file_status
from .numbers import AUDIO_SCALE, finite_number, shown, spell
from .script import PEOPLE, read_script
from .voices import parse_mix

NAMED_SIZES = ("480p", "720p", "480p-bucket", "720p-bucket", "160p")
MIN_SIDE, MAX_SIDE, SIDE_STEP = 64, 2048, 16
MAX_TEXT = 10_000
MAX_LISTED = 20  # names in an error
LISTED = "The README lists all fields."
EMPTY: tuple[Any, ...] = (None, "", {}, [])  # what clients send for "not set"


class UnknownName(InvalidInput):
    """A field or key that does not exist; ``field`` is its name."""


def check_text(value: Any, field: str, name: str | None = None) -> str:
    """Check a string, at most ``MAX_TEXT`` characters long.

    Args:
        value: The value.
        field: The request's field.
        name: The field's name in an error; None: ``field``.
    """
    name = name or spell(field)
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be text, not {shown(value)}.", field)
    if len(value) > MAX_TEXT:
        raise InvalidInput(f"{name} must have at most {MAX_TEXT} characters, not {len(value)}.", field)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidInput(f"{name} contains lone surrogates. Use valid Unicode text.", field)
    return value


def check_flag(value: Any, field: str) -> bool:
    """Check for true or false; other truthy or falsy values are refused."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{spell(field)} must be true or false, not {shown(value)}.", field)
    return value


def check_mark(value: Any) -> bool:
    """Check whether files shall say that they were made by AI, which the deployer may require."""
    if not check_flag(value, "mark") and read_policy() == REQUIRED:
        raise InvalidInput(
            f"mark must be true, not false: every video made here says that it was made by AI "
            f"({POLICY}={REQUIRED}).",
            "mark",
        )
    return bool(value)


def check_choice(value: Any, field: str, allowed: Iterable[str]) -> str:
    """Check that a value is one of several names."""
    names = list(allowed)
    if not isinstance(value, str) or value not in names:
        raise InvalidInput(f"{spell(field)} must be one of {', '.join(names)}, not {shown(value)}.", field)
    return value


def check_names(names: Iterable[Any], allowed: Iterable[str], kind: str, aliases: Iterable[str] = ()) -> None:
    """Refuse the first unknown name, and suggest the most similar one.

    Args:
        names: Names to check.
        allowed: Names that exist.
        kind: What the names are, for the error, such as ``"field of speech"``.
        aliases: Other names that exist, for the suggestion only.
    """
    valid = list(allowed)
    for name in names:
        if name not in valid:
            similar = _most_similar(str(name), [*valid, *aliases])
            hint = f" Did you mean {similar}?" if similar else ""
            allowed = f"Allowed: {', '.join(valid)}." if len(valid) <= MAX_LISTED else LISTED
            raise UnknownName(f"{shown(name)} is not a {kind}.{hint} {allowed}", str(name)[:80])


def _most_similar(name: str, others: Sequence[str]) -> str | None:
    """Return the longest name that this one continues, such as audio for audio_path, else a similar one."""
    begun = [other for other in others if name.startswith(f"{other}_")]
    similar = difflib.get_close_matches(name, others, n=1, cutoff=0.5)
    return max(begun, key=len, default=None) or next(iter(similar), None)


def check_size(value: Any) -> str | tuple[int, int]:
    """Check a named size, or (height, width) in pixels."""
    if isinstance(value, str) and value in NAMED_SIZES:
        return value
    sides = tuple(value) if isinstance(value, (list, tuple)) else ()
    whole = [isinstance(side, Integral) and not isinstance(side, bool) for side in sides]
    if len(sides) != 2 or not all(whole):
        names = ", ".join(NAMED_SIZES)
        raise InvalidInput(f"size must be one of {names}, or [height, width], not {shown(value)}.", "size")
    return check_sides(int(sides[0]), int(sides[1]), "size: ")


def check_sides(height: int, width: int, prefix: str = "") -> tuple[int, int]:
    """Check a height and a width in pixels; ``prefix`` starts the error."""
    if any(side % SIDE_STEP or not MIN_SIDE <= side <= MAX_SIDE for side in (height, width)):
        near = [round(min(max(side, MIN_SIDE), MAX_SIDE) / SIDE_STEP) * SIDE_STEP for side in (height, width)]
        raise InvalidInput(
            f"{prefix}height and width must be multiples of {SIDE_STEP} from {MIN_SIDE} to {MAX_SIDE}, "
            f"not {shown([height, width])}. Try {near}.",
            "size",
        )
    return height, width


@dataclass(frozen=True)
class RowsFirst:
    """Boxes as in the field ``bbox`` of the other worker: (y0, x0, y1, x1) by person."""

    boxes: Any


def check_boxes(value: Any, image_size: tuple[int, int] | None) -> dict[str, tuple[float, ...]] | None:
    """Check the speakers' boxes, (x0, y0, x1, y1) in pixels of the source image.

    Args:
        value: ``{"person1": [x0, y0, x1, y1], ...}``, the same with rows first, or None.
        image_size: (width, height) of the image; None skips the check against it.
    """
    name, order = "boxes", "[x0, y0, x1, y1]"
    if rows_first := isinstance(value, RowsFirst):
        value, name, order = value.boxes, "bbox", "[y0, x0, y1, x1]"
    if value is None or (isinstance(value, Mapping) and not value):
        return None
    if not isinstance(value, Mapping):
        example = f'{{"person1": {order}, ...}}'
        raise InvalidInput(f"{name} must be {example} in pixels of the image, not {shown(value)}.", "boxes")
    check_names(value, PEOPLE, f"person of {name}")
    boxes = {}
    for person, box in value.items():
        corners = tuple(box) if isinstance(box, (list, tuple)) else ()
        numbers = [number for corner in corners if (number := finite_number(corner)) is not None]
        if len(corners) != 4 or len(numbers) != 4:
            raise InvalidInput(
                f"{name}.{person} must be four numbers {order}, not {shown(box)}.", f"boxes.{person}"
            )
        if rows_first:
            numbers = [numbers[index] for index in (1, 0, 3, 2)]
        if problem := _box_problem(numbers, shown(box), image_size):
            raise InvalidInput(f"{name}.{person} {problem}", f"boxes.{person}")
        boxes[person] = tuple(numbers)
    return boxes


def _box_problem(box: Sequence[float], text: str, image_size: tuple[int, int] | None) -> str | None:
    """Return what is wrong with a box (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = box
    if x1 - x0 < 1 or y1 - y0 < 1:
        return f"is empty ({text}). x1 must be at least 1 pixel above x0, and y1 above y0."
    if image_size is not None:
        width, height = image_size
        if min(x0, y0) < 0 or x1 > width or y1 > height:
            return f"is outside the image ({text}). x must be from 0 to {width}, and y from 0 to {height}."
    return None


def check_audio_scale(value: Any) -> float | dict[str, float]:
    """Check the scale of the audio: a number for everybody, or one by person."""
    if not isinstance(value, Mapping):
        return _scale(value, "audio_scale")
    check_names(value, PEOPLE, "person of audio_scale")
    return {person: _scale(scale, f"audio_scale.{person}") for person, scale in value.items()}


def _scale(value: Any, field: str) -> float:
    return float(AUDIO_SCALE.check(value, field) or 0)


def check_lora_file(value: Any) -> Path:
    """Check the path of an existing LoRA file."""
    if not isinstance(value, (str, Path)) or not str(value):
        raise InvalidInput(f"lora path must be the path of a .safetensors file, not {shown(value)}.", "lora")
    path = Path(value)
    file_status(value, "lora", "LoRA", "lora path")
    if path.suffix != ".safetensors":
        raise InvalidInput(f"lora path must be a .safetensors file, not {shown(str(path))}.", "lora")
    return path


def check_speech_text(value: Any) -> str:
    """Check a script: every turn has words and belongs to (s1) or (s2)."""
    text = check_text(value, "speech.text")
    read_script(text)
    return text


def check_voices(value: Any) -> dict[str, str]:
    """Check the syntax of each speaker's voice; the speech engine checks that the voice exists."""
    if not isinstance(value, Mapping):
        example = '{"person1": "...", "person2": "..."}'
        raise InvalidInput(f"speech voices must be {example}, not {shown(value)}.", "speech")
    check_names(value, PEOPLE, "person of speech voices")
    for person, voice in value.items():
        name = f"speech voice of {person}"
        parse_mix(check_text(voice, f"speech.voices.{person}", name), name)
    return dict(value)


def check_language(value: Any) -> str | dict[str, str]:
    """Check a language code for all speakers, or one per speaker; the speech engine checks that it exists."""
    if not isinstance(value, Mapping):
        return check_text(value, "speech.language")
    check_names(value, PEOPLE, "person of speech language")
    for person, code in value.items():
        check_text(code, f"speech.language.{person}", f"speech language of {person}")
    return dict(value)
