"""Environment variables: the one place that reads and sets them.

An unset or blank variable has its default; an invalid value gives a one-line error that names the variable.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import overload

from ..errors import InvalidInput

ON, OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@overload
def read_text(name: str, default: str, environment: Mapping[str, str] | None = None) -> str: ...
@overload
def read_text(
    name: str, default: None = None, environment: Mapping[str, str] | None = None
) -> str | None: ...
def read_text(
    name: str, default: str | None = None, environment: Mapping[str, str] | None = None
) -> str | None:
    """Read a variable without surrounding blanks.

    Args:
        name: The variable.
        default: Returned where it is unset or blank.
        environment: Variables by name; None reads this process's.
    """
    variables: Mapping[str, str] = os.environ if environment is None else environment
    return variables.get(name, "").strip() or default


def parse_flag(text: str) -> bool:
    """Parse ``on`` or ``off``, in any of the usual spellings.

    Raises:
        ValueError: It is neither.
    """
    word = text.strip().lower()
    if word not in (*ON, *OFF):
        raise ValueError("on or off")
    return word in ON


def read_flag(name: str, default: bool = False, environment: Mapping[str, str] | None = None) -> bool:
    """Read a switch; see :func:`parse_flag`.

    Raises:
        InvalidInput: The value is neither on nor off.
    """
    text = read_text(name, "", environment)
    try:
        return parse_flag(text) if text else default
    except ValueError:
        raise InvalidInput(f"{name} must be on or off, not {text[:40]!r}.") from None


def read_number(
    name: str,
    default: float,
    unit: str,
    minimum: float = 0.0,
    maximum: float = math.inf,
    environment: Mapping[str, str] | None = None,
) -> float:
    """Read a number.

    Args:
        name: The variable.
        default: Returned where it is unset or blank.
        unit: Plural, for the error, such as "seconds".
        minimum: Excluded.
        maximum: Included.
        environment: Variables by name; None reads this process's.

    Raises:
        InvalidInput: The value is not a number, or out of range.
    """
    text = read_text(name, environment=environment)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not minimum < value <= maximum:
        limit = f" and at most {maximum:g}" if math.isfinite(maximum) else ""
        raise InvalidInput(f"{name} must be a number of {unit} above {minimum:g}{limit}, not {text[:40]!r}.")
    return value


def set_defaults(**variables: str) -> None:
    """Set variables for other libraries, unless they are set already."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def set_variables(**variables: str) -> None:
    """Set variables for other libraries."""
    os.environ.update(variables)
