"""The job of ``--test_input`` or of ``test_input.json``, which RunPod's SDK reads without checks."""

from __future__ import annotations

import json
from collections.abc import MutableSequence
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..request.numbers import shown

OPTION = "--test_input"
JOB_FILE = "test_input.json"  # in the current folder
EXAMPLE = '{"input": {...}}'


def prepare_local_job(arguments: MutableSequence[str]) -> None:
    """Check the job in the worker's command line; without one, add that of ``JOB_FILE``.

    Args:
        arguments: The command line. The name of a JSON file is replaced by its content.

    Raises:
        InvalidInput: There is no job, or it is not JSON.
    """
    for position, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option != OPTION:
            continue
        if not equals:
            value = "".join(arguments[position + 1 : position + 2])
        job = _job(_parse(value), OPTION)
        arguments[position : position + (1 if equals else 2)] = [f"{OPTION}={job}"]
        return
    arguments.append(f"{OPTION}={_job(_read(Path(JOB_FILE), JOB_FILE), JOB_FILE)}")


def _parse(value: str) -> Any:
    """Parse the option's value: JSON, or the name of a JSON file."""
    try:
        return json.loads(value.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        reason = error
    try:
        is_file = Path(value).is_file()
    except (OSError, ValueError):
        is_file = False
    if is_file:
        return _read(Path(value), f"{OPTION}: file {shown(value)}")
    raise InvalidInput(
        f"{OPTION} is neither valid JSON ({reason}) nor a file ({shown(value)}). "
        f"Use '{EXAMPLE}', or the name of a JSON file."
    )


def _read(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{name} cannot be read as JSON: {reason}. It must contain {EXAMPLE}.") from None


def _job(value: Any, name: str) -> str:
    """Return a job as JSON."""
    if not isinstance(value, dict) or value.get("input") is None:
        raise InvalidInput(f"{name} must be a JSON object with input, not {shown(value)}. Use '{EXAMPLE}'.")
    return json.dumps(value)
