"""Errors in the words of the caller: with the names of another worker, or of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInput
from .aliases import WORKER_NAMES
from .checks import EMPTY
from .infinitetalk_names import FORMS
from .numbers import spell

# Field of a request, by name of the other workers.
FIELDS = {
    **WORKER_NAMES,
    **{f"{kind}_{form}": kind for kind in ("image", "video") for form in FORMS},
    **{f"wav_{form}": "audio.person1" for form in FORMS},
    **{f"wav_{form}_2": "audio.person2" for form in FORMS},
    "max_frame": "max_seconds",
}


def caller_names(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the other workers in a job, by the field that they mean."""
    names: dict[str, str] = {}
    for name, value in fields.items():
        field = FIELDS.get(name)
        if field is not None and value not in EMPTY and fields.get(field) is None:
            names.setdefault(field, name)
    if "audio" not in names and "audio.person1" in names and "audio.person2" not in names:
        names |= dict.fromkeys(("audio", "audio.person2"), names["audio.person1"])  # one file for all
    return names


def in_caller_words(error: InvalidInput, fields: Any) -> InvalidInput:
    """Return an error in the caller's names, or the error itself; its ``field`` stays the request's.

    Args:
        error: The error.
        fields: The job's input.
    """
    return with_names(error, caller_names(fields)) if isinstance(fields, Mapping) else error


def with_names(error: InvalidInput, names: Mapping[str, str], separator: str = ".") -> InvalidInput:
    """Return an error whose sentence has another name of its field, or the error itself.

    Args:
        error: The error.
        names: Names by field.
        separator: Between the name of a field and its part, such as a person.
    """
    field = error.field or ""
    root, _, part = field.partition(".")
    if field in names:
        name = names[field]
    elif root in names:
        name = f"{names[root]}{separator}{part}"
    else:
        return error
    message = str(error)
    for prefix, replacement in ((field, name), (spell(field), spell(name)), (root, names.get(root, name))):
        if re.match(rf"{re.escape(prefix)}(?![\w.])", message):
            message = replacement + message[len(prefix) :]
            break
    return InvalidInput(message, error.field)
