"""What a text in a job's ``image`` or ``audio`` is: a URL, a data URI, a path, or base64."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from ..errors import InvalidInput

MAX_BYTES = 100_000_000
# Base64 may have line breaks in it, and a data URI its type in front.
MAX_CHARACTERS = MAX_BYTES // 3 * 4 + 4_000_000
MAX_URL = 8192
MAX_PATH = 4096
# Shorter texts are no media file in base64, so one that begins with a slash is a path.
SHORTEST_BASE64 = 256
JPEG_START = "/9j/"  # how base64 of every JPEG begins; the slash isn't a path's
ALLOWED = "a URL (https://...), a data URI, base64, or a path on the network volume"

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_STANDARD = bytes.maketrans(b"-_", b"+/")
_DATA = re.compile(r"data:(?P<type>[^,;]{0,200})(?P<parameters>(?:;[^,;]{0,200}){0,10}),", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A text, sorted.

    Attributes:
        kind: What it is.
        text: The URL or the path; for the other kinds what ``decode`` takes.
    """

    kind: Literal["url", "data", "path", "base64"]
    text: str


def sort_source(value: Any, field: str) -> Source:
    """Tell what a value is; nothing is read or fetched.

    Args:
        value: A text; everything else is refused.
        field: What an error calls it.

    Raises:
        InvalidInput: It is none of what is allowed.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{field} is a {_json_type(value)}, but must be {ALLOWED}.", field)
    if len(value) > MAX_CHARACTERS:
        raise InvalidInput(
            f"{field} has {len(value)} characters, which is over the {MAX_BYTES // 1_000_000} MB that are "
            "accepted.",
            field,
        )
    text = value.strip()
    if not text:
        raise InvalidInput(f"{field} is empty, but must be {ALLOWED}.", field)
    if scheme := _SCHEME.match(text[:40]):
        return _sort_by_scheme(scheme[1].lower(), text, field)
    if _looks_like_path(text):
        if len(text) > MAX_PATH or "\0" in text:
            raise InvalidInput(f"{field} is no path that could exist.", field)
        return Source("path", text)
    return Source("base64", text)


def _sort_by_scheme(scheme: str, text: str, field: str) -> Source:
    if scheme == "data":
        return Source("data", text)
    if scheme not in ("http", "https"):
        raise InvalidInput(
            f"{field} is a {scheme[:20]}: address, but only https and http addresses are fetched.", field
        )
    if len(text) > MAX_URL:
        raise InvalidInput(
            f"{field} is a URL of {len(text)} characters, but may have at most {MAX_URL}.", field
        )
    return Source("url", text)


def _looks_like_path(text: str) -> bool:
    if text.startswith("/") and not text.startswith(JPEG_START) and len(text) < SHORTEST_BASE64:
        return True
    # a dot is in no base64, and in nearly every file's name
    return len(text) <= MAX_PATH and "." in text and "\n" not in text


def decode(source: Source, field: str) -> bytes:
    """The bytes of a data URI or of base64.

    Raises:
        InvalidInput: It isn't properly encoded, is empty, or is over 100 MB.
    """
    if source.kind == "data":
        header = _DATA.match(source.text[:4096])
        if header is None:
            raise InvalidInput(
                f"{field} is a damaged data URI: it must look like data:image/png;base64,....", field
            )
        body = source.text[header.end() :]
        if "base64" not in header["parameters"].lower().split(";"):
            return _checked_size(unquote_to_bytes(body), field)
        return _decode_base64(body, field)
    return _decode_base64(source.text, field)


def _decode_base64(text: str, field: str) -> bytes:
    try:
        # both alphabets, line breaks and missing padding are common, and harmless
        compact = text.encode("ascii").translate(_STANDARD, b" \t\r\n").rstrip(b"=")
        data = base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{field} is none of {ALLOWED}, or is damaged.", field) from None
    return _checked_size(data, field)


def _checked_size(data: bytes, field: str) -> bytes:
    if not data:
        raise InvalidInput(f"{field} is empty (0 bytes).", field)
    if len(data) > MAX_BYTES:
        raise InvalidInput(
            f"{field} has {len(data)} bytes, but may have at most {MAX_BYTES // 1_000_000} MB.", field
        )
    return data


def _json_type(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", list: "list", dict: "object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
