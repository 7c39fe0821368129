"""Build a request from plain fields, or from the fields in a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from .generation_request import GenerationRequest
from .numbers import shown
from .script import PEOPLE

FILE_FIELDS = ("image", "continue_from", "video", "audio", "masks", "lora")


def build_request(fields: Mapping[str, Any]) -> GenerationRequest:
    """Build a request.

    Args:
        fields: Plain values by field of :class:`GenerationRequest`, or by common name
            (``multitalk.request.aliases``).

    Raises:
        InvalidInput: One sentence about the first invalid field.
    """
    return GenerationRequest.checked(fields)


def read_json_fields(path: str | Path) -> dict[str, Any]:
    """Read the fields of a request from a JSON file, without checking them.

    Relative paths in the fields of ``FILE_FIELDS`` are resolved against the file's folder first, then against
    the working directory.

    Raises:
        InvalidInput: The file cannot be read, or is not a JSON object.
    """
    file = Path(path)

    def unreadable(reason: object) -> InvalidInput:
        return InvalidInput(f"request file {shown(str(path))} cannot be read: {reason}.")

    try:
        fields = json.loads(file.read_bytes())  # UTF-8 or UTF-16, with or without a byte order mark
    except (OSError, ValueError) as error:
        raise unreadable(getattr(error, "strerror", None) or error) from None
    except RecursionError:
        raise unreadable("it is nested too deeply") from None
    if not isinstance(fields, dict):
        raise InvalidInput(f"request file {shown(str(path))} must contain a JSON object with fields.")

    def resolve(value: Any) -> Any:
        if isinstance(value, str):
            near = file.parent / value
            with suppress(OSError, ValueError):  # no name of a file, but its content, for example
                return str(near) if len(value) < 4096 and near.exists() else value
            return value
        if isinstance(value, dict):
            return {key: resolve(item) if key in ("path", *PEOPLE) else item for key, item in value.items()}
        return [resolve(item) for item in value] if isinstance(value, list) else value

    try:
        return {key: resolve(value) if key in FILE_FIELDS else value for key, value in fields.items()}
    except RecursionError:
        raise unreadable("it is nested too deeply") from None
