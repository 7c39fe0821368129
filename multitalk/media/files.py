"""Opening files that a request names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from ..errors import InvalidInput


def open_file(path: str | Path, field: str, kind: str) -> BinaryIO:
    """Open a regular file for reading.

    Args:
        path: The file.
        field: The request's field, such as ``"image"``.
        kind: Type of the file, such as ``"image"``.

    Raises:
        InvalidInput: The file does not exist, is a folder or a device, is empty, or cannot be opened.
    """
    file = Path(path)
    shown = repr(str(path)[-200:])
    try:
        if not file.exists():
            raise InvalidInput(f"{field}: file not found ({shown}).", field)
        if not file.is_file():
            article = "an" if kind[0] in "aeiou" else "a"
            raise InvalidInput(
                f"{field} must be {article} {kind} file, not a folder or device ({shown}).", field
            )
        if file.stat().st_size == 0:
            raise InvalidInput(f"{field}: file is empty ({shown}, 0 bytes).", field)
        return file.open("rb")
    except InvalidInput:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{field}: cannot open {shown} ({reason}).", field) from None


def reopened(file: BinaryIO) -> BinaryIO:
    """Open a file again, at a position of its own (macOS: at the position that all its users share)."""
    try:
        return open(f"/proc/self/fd/{file.fileno()}", "rb")
    except OSError:
        return os.fdopen(os.dup(file.fileno()), "rb")
