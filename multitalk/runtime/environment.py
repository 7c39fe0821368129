"""Environment variables: the only module that reads and sets them.

An unset or blank variable has its default. An invalid value gives a one-line error that names the variable.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar, overload

from ..errors import InvalidInput, WeightsError
from ..weights.folders import EMBEDDED_FOLDER, ENVIRONMENT_VARIABLE, IMAGE_FOLDER, LOCAL_FOLDER, MANIFEST

ON, OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
Value = TypeVar("Value")


@overload
def read_text(name: str, default: str, environment: Mapping[str, str] | None = None) -> str: ...
@overload
def read_text(
    name: str, default: None = None, environment: Mapping[str, str] | None = None
) -> str | None: ...
def read_text(
    name: str, default: str | None = None, environment: Mapping[str, str] | None = None
) -> str | None:
    """Read a variable, without surrounding whitespace.

    Args:
        name: Name of the variable.
        default: Returned if the variable is unset or blank.
        environment: Variables by name; None reads this process's.
    """
    variables: Mapping[str, str] = os.environ if environment is None else environment
    return variables.get(name, "").strip() or default


def read_secret(name: str) -> str:
    """Read a variable exactly as it is set, for user names and passwords; empty if it is unset."""
    return os.environ.get(name, "")


def parse_flag(text: str) -> bool:
    """Parse ``on`` or ``off``, ``true`` or ``false``, ``yes`` or ``no``, ``1`` or ``0``.

    Raises:
        ValueError: The text is none of these.
    """
    word = text.strip().lower()
    if word not in (*ON, *OFF):
        raise ValueError("on or off")
    return word in ON


def parse_value(name: str, text: str, parser: Callable[[str], Value], field: str | None = None) -> Value:
    """Parse the value of a variable or setting.

    Args:
        name: The name that the error starts with.
        text: The value.
        parser: Returns the parsed value, or raises a ValueError whose message lists what is allowed.
        field: The error's field.

    Raises:
        InvalidInput: The parser rejected the value.
    """
    try:
        return parser(text.strip())
    except ValueError as error:
        raise InvalidInput(f"{name} must be {error}, not {text[:80]!r}.", field) from None


def read_flag(name: str, default: bool = False, environment: Mapping[str, str] | None = None) -> bool:
    """Read a switch; see :func:`parse_flag`.

    Raises:
        InvalidInput: The value is neither on nor off.
    """
    text = read_text(name, environment=environment)
    return default if text is None else parse_value(name, text, parse_flag)


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
        name: Name of the variable.
        default: Returned if the variable is unset or blank.
        unit: Unit in plural, for the error, such as "seconds".
        minimum: Exclusive lower limit.
        maximum: Inclusive upper limit.
        environment: Variables by name; None reads this process's.

    Raises:
        InvalidInput: The value is not a number or is out of range.
    """
    text = read_text(name, environment=environment)
    if text is None:
        return default
    return parse_value(name, text, lambda value: parse_number(value, unit, minimum, maximum))


def parse_number(text: str, unit: str, minimum: float = 0.0, maximum: float = math.inf) -> float:
    """Parse a number; arguments as in :func:`read_number`.

    Raises:
        ValueError: The text is not a number or is out of range.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not minimum < value <= maximum:
        limit = f" and at most {maximum:g}" if math.isfinite(maximum) else ""
        raise ValueError(f"a number of {unit} above {minimum:g}{limit}")
    return value


def set_defaults(**variables: str) -> None:
    """Set variables that are read by other libraries, unless they are already set."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def set_variables(**variables: str) -> None:
    """Set variables that are read by other libraries."""
    os.environ.update(variables)


# What a process without secrets needs.
_PLAIN_VARIABLES = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
)


def decoder_variables() -> dict[str, str]:
    """Return the variables of a process that decodes files: no secrets, and this process's search path."""
    package = str(Path(__file__).parents[2])
    search = [os.path.abspath(path) for path in (*sys.path, package)]
    variables = {name: os.environ[name] for name in _PLAIN_VARIABLES if name in os.environ}
    # libraries allocate address space for every thread and arena, and the process's address space is limited
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    return variables | single | {"PYTHONPATH": os.pathsep.join(search)}


DEFAULT_MAX_AUDIO_SECONDS = 600.0


def max_audio_seconds(environment: Mapping[str, str] | None = None) -> float:
    """Return the maximum length of an audio input in seconds: ``MAX_AUDIO_SECONDS``, default 600.

    Args:
        environment: Variables by name; None reads this process's.

    Raises:
        InvalidInput: The variable is not a number above 0.
    """
    return read_number("MAX_AUDIO_SECONDS", DEFAULT_MAX_AUDIO_SECONDS, "seconds", environment=environment)


def find_weights(explicit: str | Path | None = None) -> Path:
    """Find the weights folder.

    The order is: `explicit`, ``MULTITALK_WEIGHTS``, the image's folder, ``./weights``, the embedded weights.
    A folder set by `explicit` or the variable is returned without a check; opening it validates it.

    Args:
        explicit: A folder set by the caller, such as ``--weights``.

    Raises:
        WeightsError: No folder was found.
    """
    if folder := explicit or read_text(ENVIRONMENT_VARIABLE):
        return Path(folder)
    for path in (IMAGE_FOLDER, LOCAL_FOLDER, EMBEDDED_FOLDER):
        if (path / MANIFEST).is_file():
            return path
    raise WeightsError(
        f"No weights were found in {IMAGE_FOLDER} or ./{LOCAL_FOLDER}: set --weights or "
        f"{ENVIRONMENT_VARIABLE}, or create a weights folder with multitalk bake."
    )
