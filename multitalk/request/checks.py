"""Checks of a request's single values: each returns what the pipeline wants, or says what is wrong."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from .script import PEOPLE, read_script
from .voices import parse_mix

NAMED_SIZES = ("480p", "720p", "480p-bucket", "720p-bucket", "160p")
MIN_SIDE, MAX_SIDE, SIDE_STEP = 64, 2048, 16
MAX_TEXT = 10_000


def shown(value: Any) -> str:
    """A value as an error message shows it: one line, at most 80 characters, no file's bytes."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{len(value)} bytes"
    try:
        text = " ".join((str(value) if isinstance(value, Path) else repr(value)).split())
    except Exception:  # an object, or a number of thousands of digits, that can't be shown
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:60]}...{text[-16:]}"


@dataclass(frozen=True)
class Range:
    """The numbers a field takes.

    Args:
        minimum: Smallest value.
        maximum: Largest value; infinity where any finite number will do.
        whole: Whether only whole numbers count.
        above: Whether the minimum itself is excluded.
        step: With ``whole``: the value must be a multiple of this, plus 1 (frames come as 4n+1).
        optional: Whether None is allowed.
    """

    minimum: float
    maximum: float = math.inf
    whole: bool = False
    above: bool = False
    step: int = 1
    optional: bool = False

    def __str__(self) -> str:
        if self.step > 1:
            first = ", ".join(str(int(self.minimum) + self.step * i) for i in range(3))
            return f"one of {first}, ... ({self.step}n+1) up to {self.maximum:g}"
        text = "a whole number" if self.whole else "a number"
        text += f" above {self.minimum:g}" if self.above else f" from {self.minimum:g}"
        if math.isfinite(self.maximum):
            text += f" up to {int(self.maximum) if self.whole else self.maximum}"
        elif not self.above:
            text += " up"
        return text + (" or null" if self.optional else "")

    def check(self, value: Any, field: str) -> float | int | None:
        """The number as int or float.

        Raises:
            InvalidInput: It isn't one, or lies outside.
        """
        if value is None and self.optional:
            return None
        number: float | int | None = _finite(value)
        if self.whole and number is not None:
            number = int(value) if isinstance(value, Integral) or float(value).is_integer() else None
        if number is None or not self._holds(number):
            raise InvalidInput(f"{field} is {shown(value)}, but must be {self}.", field)
        return number

    def _holds(self, number: float | int) -> bool:
        if number < self.minimum or number > self.maximum or (self.above and number == self.minimum):
            return False
        return not self.whole or (int(number) - 1) % self.step == 0


def _finite(value: Any) -> float | None:
    """The value as a float where it is a finite number; None for all else, true and false included."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def check_text(value: Any, field: str) -> str:
    """A string of a length that a text encoder may be asked to read."""
    if not isinstance(value, str):
        raise InvalidInput(f"{field} is {shown(value)}, but must be a text.", field)
    if len(value) > MAX_TEXT:
        raise InvalidInput(f"{field} has {len(value)} characters, but may have at most {MAX_TEXT}.", field)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidInput(f"{field} has characters that aren't text (lone surrogates).", field)
    return value


def check_flag(value: Any, field: str) -> bool:
    """True or false, and nothing that only looks like it."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{field} is {shown(value)}, but must be true or false.", field)
    return value


def check_choice(value: Any, field: str, allowed: Iterable[str]) -> str:
    """One of a list of names."""
    names = list(allowed)
    if not isinstance(value, str) or value not in names:
        raise InvalidInput(f"{field} is {shown(value)}, but must be one of {', '.join(names)}.", field)
    return value


class UnknownName(InvalidInput):
    """A field or a key that doesn't exist; ``field`` is the name itself."""


def check_names(given: Iterable[Any], allowed: Iterable[str], what: str) -> None:
    """Refuses the first unknown name, with the nearest one that exists.

    Args:
        given: Names as they came.
        allowed: Names that exist.
        what: What the sentence calls such a name, such as ``"field"`` or ``"field of speech"``.
    """
    names = list(allowed)
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
            hint = f" (the nearest is {near[0]})" if near else ""
            message = f"{shown(name)} is not a {what}{hint}: there are {', '.join(names)}."
            raise UnknownName(message, str(name)[:80])


def check_size(value: Any) -> str | tuple[int, int]:
    """A named size, or (height, width) in pixels."""
    named = ", ".join(NAMED_SIZES)
    if isinstance(value, str) and value in NAMED_SIZES:
        return value
    sides = tuple(value) if isinstance(value, (list, tuple)) else ()
    whole = [isinstance(side, Integral) and not isinstance(side, bool) for side in sides]
    if len(sides) != 2 or not all(whole):
        raise InvalidInput(f"size is {shown(value)}, but must be one of {named}, or [height, width].", "size")
    height, width = int(sides[0]), int(sides[1])
    if any(side % SIDE_STEP or not MIN_SIDE <= side <= MAX_SIDE for side in (height, width)):
        near = [round(min(max(side, MIN_SIDE), MAX_SIDE) / SIDE_STEP) * SIDE_STEP for side in (height, width)]
        raise InvalidInput(
            f"size is {shown(value)}, but height and width must be multiples of {SIDE_STEP} "
            f"from {MIN_SIDE} to {MAX_SIDE}: try {near}.",
            "size",
        )
    return height, width


def check_boxes(value: Any, image_size: tuple[int, int] | None) -> dict[str, tuple[float, ...]] | None:
    """People's boxes, (x0, y0, x1, y1) in source pixels.

    Args:
        value: ``{"person1": [x0, y0, x1, y1], ...}`` or None.
        image_size: (width, height) of the picture; None leaves out the check against it.
    """
    if value is None or (isinstance(value, Mapping) and not value):
        return None
    if not isinstance(value, Mapping):
        example = '{"person1": [x0, y0, x1, y1], ...}'
        raise InvalidInput(
            f"boxes is {shown(value)}, but must be {example} in pixels of the picture.", "boxes"
        )
    check_names(value, PEOPLE, "person of boxes")
    return {person: _check_box(box, f"boxes.{person}", image_size) for person, box in value.items()}


def _check_box(box: Any, field: str, image_size: tuple[int, int] | None) -> tuple[float, ...]:
    corners = tuple(box) if isinstance(box, (list, tuple)) else ()
    numbers = [number for corner in corners if (number := _finite(corner)) is not None]
    if len(corners) != 4 or len(numbers) != 4:
        raise InvalidInput(f"{field} is {shown(box)}, but must be four numbers [x0, y0, x1, y1].", field)
    x0, y0, x1, y1 = numbers
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise InvalidInput(
            f"{field} is {shown(box)}, which is empty: x1 and y1 must be a pixel larger.", field
        )
    if image_size is not None:
        width, height = image_size
        if min(x0, y0) < 0 or x1 > width or y1 > height:
            raise InvalidInput(
                f"{field} is {shown(box)}, which reaches outside the picture: x may go from 0 to {width} and "
                f"y from 0 to {height}.",
                field,
            )
    return x0, y0, x1, y1


def check_lora_file(value: Any) -> Path:
    """A LoRA file that exists."""
    if not isinstance(value, (str, Path)) or not str(value):
        raise InvalidInput(
            f"lora.path is {shown(value)}, but must be the path of a .safetensors file.", "lora"
        )
    path = Path(value)
    try:
        exists = path.is_file()
    except (OSError, ValueError):
        exists = False
    if not exists:
        raise InvalidInput(f"lora.path is {shown(str(path))}, but there is no such file.", "lora")
    if path.suffix != ".safetensors":
        raise InvalidInput(f"lora.path is {shown(str(path))}, but must be a .safetensors file.", "lora")
    return path


def check_speech_text(value: Any) -> str:
    """A script: words, in turns spoken by nobody but (s1) and (s2)."""
    text = check_text(value, "speech.text")
    read_script(text)
    return text


def check_voices(value: Any) -> dict[str, str]:
    """A voice, or a mix of voices by weights, for each person; which there are, the engine knows."""
    if not isinstance(value, Mapping):
        example = '{"person1": "...", "person2": "..."}'
        raise InvalidInput(f"speech.voices is {shown(value)}, but must be {example}.", "speech")
    check_names(value, PEOPLE, "person of speech.voices")
    voices = {person: check_text(voice, f"speech.voices.{person}") for person, voice in value.items()}
    for person, voice in voices.items():
        parse_mix(voice, f"speech.voices.{person}")
    return voices


def check_language(value: Any) -> str | dict[str, str]:
    """A language's code for everybody, or one for each person; which there are, the engine knows."""
    if not isinstance(value, Mapping):
        return check_text(value, "speech.language")
    check_names(value, PEOPLE, "person of speech.language")
    return {person: check_text(code, f"speech.language.{person}") for person, code in value.items()}


def read_json_fields(path: str | Path) -> dict[str, Any]:
    """The fields in a job's JSON file, unchecked, with paths found as ``from_json_file`` says.

    Raises:
        InvalidInput: The file can't be read or isn't a JSON object.
    """
    file = Path(path)
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"the request {shown(str(path))} can't be read: {reason}.") from None
    if not isinstance(fields, dict):
        raise InvalidInput(f"the request {shown(str(path))} must be a JSON object with the fields' names.")

    def beside(value: Any) -> Any:
        if isinstance(value, str):
            near = file.parent / value
            return str(near) if len(value) < 4096 and "\0" not in value and near.is_file() else value
        if isinstance(value, dict):
            return {key: beside(item) if key in ("path", *PEOPLE) else item for key, item in value.items()}
        return [beside(item) for item in value] if isinstance(value, list) else value

    return {
        key: beside(value) if key in ("image", "audio", "lora") else value for key, value in fields.items()
    }
