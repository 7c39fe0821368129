"""Ranges of a request's numeric fields."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from ..errors import InvalidInput


def shown(value: Any) -> str:
    """Format a value for an error: one line, at most 80 characters, a file's bytes as their number."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{len(value)} bytes"
    try:
        text = " ".join((str(value) if isinstance(value, Path) else repr(value)).split())
    except Exception:  # such as a number of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:60]}...{text[-16:]}"


def spell(field: str) -> str:
    """Write a nested field as words: ``speech.speed`` becomes "speech speed"."""
    return field.replace(".", " ")


@dataclass(frozen=True)
class Range:
    """The numbers that a field accepts.

    Args:
        minimum: Smallest value.
        maximum: Largest value; infinity: any finite number.
        whole: Whether only whole numbers are valid.
        above: Whether the minimum itself is excluded.
        step: With ``whole``: the value must be a multiple of this, plus 1 (4n+1 for frames).
        optional: Whether None is valid.
        hint: What to do, the end of an error.
    """

    minimum: float
    maximum: float = math.inf
    whole: bool = False
    above: bool = False
    step: int = 1
    optional: bool = False
    hint: str = ""

    def __str__(self) -> str:
        if self.step > 1:
            first = ", ".join(str(int(self.minimum) + self.step * i) for i in range(3))
            return f"one of {first}, ... ({self.step}n+1) up to {self.maximum:g}"
        text = "a whole number" if self.whole else "a number"
        if math.isfinite(self.maximum):
            maximum = int(self.maximum) if self.whole else self.maximum
            text += f" {'above' if self.above else 'from'} {self.minimum:g} "
            text += f"{'and at most' if self.above else 'to'} {maximum}"
        else:
            text += f" above {self.minimum:g}" if self.above else f" of at least {self.minimum:g}"
        return text + (" or null" if self.optional else "")

    def check(self, value: Any, field: str, name: str | None = None) -> float | int | None:
        """Return the value as int or float.

        Args:
            value: The value.
            field: The request's field.
            name: The field's name in an error; None: ``field``.

        Raises:
            InvalidInput: It is not a number, or out of range.
        """
        if value is None and self.optional:
            return None
        number: float | int | None = finite_number(value)
        if self.whole and number is not None:
            number = int(value) if isinstance(value, Integral) or float(value).is_integer() else None
        if number is None or not self._holds(number):
            hint = f" {self.hint}" if self.hint else ""
            raise InvalidInput(f"{name or spell(field)} must be {self}, not {shown(value)}.{hint}", field)
        return number

    def _holds(self, number: float | int) -> bool:
        if number < self.minimum or number > self.maximum or (self.above and number == self.minimum):
            return False
        return not self.whole or (int(number) - 1) % self.step == 0


def finite_number(value: Any) -> float | None:
    """Return a finite number as float, and None for everything else, including true and false."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


NUMBERS = {
    "steps": Range(1, 200, whole=True, optional=True),
    "shift": Range(0, 1000, above=True, optional=True),
    "text_guidance": Range(0, 1000, optional=True),
    "audio_guidance": Range(0, 1000, optional=True),
    "seed": Range(-1, 2**63 - 1, whole=True),
    "teacache": Range(0, optional=True),
    "color_correction": Range(0, 1, optional=True),
    "frames_per_clip": Range(5, 1001, whole=True, step=4),
    "motion_frames": Range(1, 997, whole=True, step=4, optional=True),
    "max_seconds": Range(0.04, optional=True),
    "source_volume": Range(0, 1),
    "strength": Range(0, 1, above=True, hint="Use 0.1 to stay close to the video."),
}
AUDIO_SCALE = Range(0, 2)  # of a person
FRAMES_PER_CLIP = 81  # default of frames_per_clip
