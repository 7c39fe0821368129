"""Strings in ``image``, ``video`` and ``audio``: URL, data URI, path or base64. Reads the last three."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import unquote_to_bytes

from ..errors import InvalidInput
from ..media.files import kind_of

# Of an image or audio file; of a video that is held in memory; of one that is read from the volume as needed.
MAX_BYTES, MAX_VIDEO_BYTES, MAX_STORED_VIDEO_BYTES = 100_000_000, 500_000_000, 4_000_000_000
VIDEOS = ("video", "continue_from")
MAX_URL = 8192
MAX_PATH = 4096
# No media file has shorter base64, so a shorter string that starts with a slash is a path.
SHORTEST_BASE64 = 256
JPEG_START = "/9j/"  # the base64 of every JPEG file starts with it, and is no path
ALLOWED = "a URL (https://...), a data URI, base64, or a path on the network volume"

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_STANDARD = bytes.maketrans(b"-_", b"+/")
_DATA = re.compile(r"data:(?P<type>[^,;]{0,200})(?P<parameters>(?:;[^,;]{0,200}){0,10}),", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A classified string.

    Attributes:
        kind: Its kind.
        text: The URL or path, or the input of ``decode``.
    """

    kind: Literal["url", "data", "path", "base64"]
    text: str


def max_bytes(field: str) -> int:
    """Return the maximum size of a field's file in bytes, if it is held in memory."""
    return MAX_VIDEO_BYTES if field in VIDEOS else MAX_BYTES


def classify_source(value: Any, field: str) -> Source:
    """Classify a value without reading or fetching anything.

    Args:
        value: A string.
        field: Name of the input field, for errors.

    Raises:
        InvalidInput: The value is no supported source.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{field} must be {ALLOWED}, not a JSON {_json_type(value)}.", field)
    # base64 may contain line breaks, and a data URI starts with its type
    if len(value) > max_bytes(field) // 3 * 4 + 4_000_000:
        raise InvalidInput(
            f"{field} must have at most {max_bytes(field) // 1_000_000} MB, not {len(value)} characters.",
            field,
        )
    text = value.strip()
    if not text:
        raise InvalidInput(f"{field} is empty. It must be {ALLOWED}.", field)
    if scheme := _SCHEME.match(text[:40]):
        return _classify_by_scheme(scheme[1].lower(), text, field)
    if _looks_like_path(text):
        if len(text) > MAX_PATH or "\0" in text:
            raise InvalidInput(f"{field} is not a valid path.", field)
        return Source("path", text)
    return Source("base64", text)


def _classify_by_scheme(scheme: str, text: str, field: str) -> Source:
    if scheme == "data":
        return Source("data", text)
    if scheme not in ("http", "https"):
        raise InvalidInput(f"{field} must be an https or http URL, not {scheme[:20]}:.", field)
    if len(text) > MAX_URL:
        raise InvalidInput(f"{field} must be a URL of at most {MAX_URL} characters, not {len(text)}.", field)
    return Source("url", text)


def _looks_like_path(text: str) -> bool:
    if text.startswith("/") and not text.startswith(JPEG_START) and len(text) < SHORTEST_BASE64:
        return True
    # base64 has no dot, and nearly every file name has one
    return len(text) <= MAX_PATH and "." in text and "\n" not in text


def decode(source: Source, field: str) -> bytes:
    """Decode a data URI or base64.

    Raises:
        InvalidInput: The value is not valid, empty, or over 100 MB.
    """
    if source.kind == "data":
        header = _DATA.match(source.text[:4096])
        if header is None:
            raise InvalidInput(
                f"{field} is not a valid data URI. It must look like data:image/png;base64,....", field
            )
        body = source.text[header.end() :]
        if "base64" not in header["parameters"].lower().split(";"):
            return _checked_size(unquote_to_bytes(body), field)
        return _decode_base64(body, field)
    return _decode_base64(source.text, field)


def _decode_base64(text: str, field: str) -> bytes:
    try:
        # accept both alphabets, line breaks and missing padding
        compact = text.encode("ascii").translate(_STANDARD, b" \t\r\n").rstrip(b"=")
        data = base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{field} must be {ALLOWED}, and is none of them or damaged.", field) from None
    return _checked_size(data, field)


def _checked_size(data: bytes, field: str) -> bytes:
    if not data:
        raise InvalidInput(f"{field} is empty (0 bytes).", field)
    if len(data) > max_bytes(field):
        raise InvalidInput(
            f"{field} must have at most {max_bytes(field) // 1_000_000} MB, not {len(data)} bytes.", field
        )
    return data


def _json_type(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", list: "list", dict: "object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


PLACES = "the network volume or the worker's INPUT_ROOTS"


def resolve_path(text: str, roots: Sequence[Path], field: str) -> Path:
    """Resolve a path and check that it is a file in an allowed folder.

    Args:
        text: The path in the job's input.
        roots: Allowed folders; they may be links.
        field: Name of the input field, for errors.

    Returns:
        The real path of the file.

    Raises:
        InvalidInput: The path is outside the allowed folders or is no file. Outside, the error does not say
            whether the file exists, so that callers cannot probe the worker's files.
    """
    path = Path(text)
    if not path.is_absolute():
        raise InvalidInput(f"{field} must be an absolute path under {PLACES}, not a relative path.", field)
    # the allowed folders may be links themselves; links below them are resolved and checked
    real_roots = [Path(os.path.realpath(root)) for root in roots]
    try:
        real = Path(os.path.realpath(path))
    except (OSError, ValueError):
        raise InvalidInput(f"{field} is not a valid path.", field) from None
    if not any(real.is_relative_to(root) for root in real_roots):
        raise InvalidInput(f"{field} is outside {PLACES}.", field)
    try:
        mode = real.stat().st_mode
    except OSError:
        raise InvalidInput(f"{field}: the file does not exist.", field) from None
    if not stat.S_ISREG(mode):
        raise InvalidInput(f"{field} must be a file, not {kind_of(mode)}.", field)
    return real


def open_path(text: str, roots: Sequence[Path], field: str, most: int = MAX_STORED_VIDEO_BYTES) -> BinaryIO:
    """Open a file; see :func:`resolve_path`.

    Args:
        text: The path in the job's input.
        roots: Allowed folders.
        field: Name of the input field, for errors.
        most: Maximum size in bytes.

    Raises:
        InvalidInput: The file is not allowed, empty, too large, or cannot be read.
    """
    real = resolve_path(text, roots, field)
    try:
        # O_NOFOLLOW: rejects a link that replaced the file after the check
        file = open(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")  # noqa: SIM115
    except OSError:
        raise InvalidInput(f"{field}: the file cannot be read.", field) from None
    try:
        opened = Path(f"/proc/self/fd/{file.fileno()}")
        if opened.exists() and Path(os.path.realpath(opened)) != real:
            raise InvalidInput(f"{field} changed while it was being read.", field)
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise InvalidInput(f"{field} must have at most {most // 1_000_000} MB, not {size} bytes.", field)
        if not size:
            raise InvalidInput(f"{field} is empty (0 bytes).", field)
    except BaseException:
        file.close()
        raise
    return file


def read_path(text: str, roots: Sequence[Path], field: str) -> bytes:
    """Read a file of at most 100 MB; see :func:`open_path`."""
    with open_path(text, roots, field, MAX_BYTES) as file:
        try:
            return file.read(MAX_BYTES)
        except OSError:
            raise InvalidInput(f"{field}: the file cannot be read.", field) from None
