"""Errors as the page shows them: in its words, and beside the field that they are about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import InvalidInput, MultiTalkError
from ..request.script import PAIR
from . import parts
from .fields import CONTINUING, DUBBING, Form, text_speakers
from .options import LABELS, SCRIPT

PLACES = ("picture", "person1", "person2", "script", "loras", "settings")
# Parts of the request's ``speech``, as errors name them.
SPEECH_LABELS = {"text": "Text", "voice": "Voice", "voices": "Voice", "language": "Language"}
SPEECH_LABELS |= {"pause": "Pause", "speed": "Speech speed"}


def hide_folders(message: str, values: Iterable[Any]) -> str:
    """Replace the server's paths in an error by file names.

    Args:
        message: The error.
        values: The form's values; those that are paths may be part of the message.
    """
    for value in values:
        if isinstance(value, str) and value.startswith("/"):
            message = message.replace(repr(value), Path(value).name).replace(value, Path(value).name)
    return re.sub(r"(?<![\w/])/(?:[\w.-]+/)+", "", message)


def with_labels(message: str) -> str:
    """Replace the names of fields in an error by the form's labels."""
    message = re.sub(r"^boxes\.person([1-4])", r"Box of person \1", message)
    message = re.sub(r"^audio\.person([1-4])", r"Audio of person \1", message)
    message = re.sub(
        r"^speech[. ](text|voices?|language|pause|speed)\b", lambda m: SPEECH_LABELS[m[1]], message
    )
    message = re.sub(r"^speech\b", "Text", message)
    message = re.sub(r"\bperson([1-4])\b", r"person \1", message).replace(" or null,", " or empty,")
    name, *others = re.split(r"(?=[\s:])", message, maxsplit=1)
    message = LABELS.get(name, name) + "".join(others)
    for field, label in LABELS.items():
        if "_" in field:  # the others are also plain words
            message = re.sub(rf"\b{field}\b", label.lower(), message)
    return message[:1].upper() + message[1:]


def page_message(error: MultiTalkError, form: Form) -> str:
    """Return an error as the page shows it."""
    return with_labels(hide_folders(str(error), form.values()))


def place_of(error: InvalidInput, form: Form) -> str:
    """Return the place on the page for an error, one of ``PLACES``."""
    field = error.field or ""
    if field in ("image", "boxes", *DUBBING, *CONTINUING) or field.startswith("boxes"):
        return "picture"
    for person in PAIR:
        if field == person or field.endswith(f".{person}"):
            return person
    if field.startswith("lora"):
        return "loras"
    if field == "audio":
        return "person1"
    if field in ("speech", "script") or field.startswith("speech"):
        if form["mode"] == SCRIPT:
            return "script"
        return (*text_speakers(form), "person1")[0]
    return "settings"


def error_places(error: MultiTalkError | None, form: Form) -> list[str]:
    """Return the content of every error place: the error in its place, the others empty."""
    place = place_of(error, form) if isinstance(error, InvalidInput) else "settings"
    message = None if error is None else page_message(error, form)
    return [parts.show_error(message if name == place else None) for name in PLACES]
