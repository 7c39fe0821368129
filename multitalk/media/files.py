"""Opening files that a request names."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from ..errors import InvalidInput

URL = re.compile(r"(?:https?|ftp|file|s3|data):", re.IGNORECASE)
KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


def kind_of(mode: int) -> str:
    """Return what is at a path, such as "a folder", from the mode in its status."""
    return KINDS.get(stat.S_IFMT(mode), "a device")


def file_status(path: str | Path, field: str, kind: str, name: str | None = None) -> os.stat_result:
    """Return the status of a regular file.

    Args:
        path: The file.
        field: The request's field, such as ``"image"``.
        kind: Type of the file, such as ``"image"``.
        name: The field's name in an error; None: ``field``.

    Raises:
        InvalidInput: There is no such file, or it cannot be accessed, or the path is a URL, or that of a
            folder, a pipe or a device.
    """
    name = name or field
    shown = repr(str(path)[-200:])
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null byte
        if URL.match(str(path)):
            text = f"{name} must be a file, not a URL ({shown}). Download it first."
            raise InvalidInput(text, field) from None
        target = "link to a missing file" if os.path.islink(path) else "file not found"
        raise InvalidInput(f"{name}: {target} ({shown}).", field) from None
    except OSError as error:
        raise InvalidInput(f"{name}: cannot open {shown} ({error.strerror}).", field) from None
    if not stat.S_ISREG(status.st_mode):
        article = "an" if kind[0] in "aeiou" else "a"
        raise InvalidInput(
            f"{name} must be {article} {kind} file, not {kind_of(status.st_mode)} ({shown}).", field
        )
    return status


def open_file(path: str | Path, field: str, kind: str) -> BinaryIO:
    """Open a regular file for reading; see :func:`file_status` for the arguments.

    Raises:
        InvalidInput: There is no such file, or it is empty or cannot be opened.
    """
    shown = repr(str(path)[-200:])
    if file_status(path, field, kind).st_size == 0:
        raise InvalidInput(f"{field}: file is empty ({shown}, 0 bytes).", field)
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise InvalidInput(f"{field}: cannot open {shown} ({error.strerror}).", field) from None


def reopened(file: BinaryIO) -> BinaryIO:
    """Open a file again, at a position of its own (macOS: at the position that all its users share)."""
    try:
        return open(f"/proc/self/fd/{file.fileno()}", "rb")
    except OSError:
        return os.fdopen(os.dup(file.fileno()), "rb")
