"""Opening what a user named, with a sentence where that fails."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from ..errors import InvalidInput


def open_file(path: str | Path, field: str, kind: str) -> BinaryIO:
    """Opens a regular file for reading.

    Args:
        path: The file.
        field: What an error calls it, such as ``"image"``.
        kind: What it should be, such as ``"picture"``.

    Raises:
        InvalidInput: There is no such file, it is a folder or a device, it is empty, or it can't be opened.
    """
    file = Path(path)
    shown = f"{field} is {str(path)[-200:]!r}"
    try:
        if not file.exists():
            raise InvalidInput(f"{shown}, but there is no such {kind} file.", field)
        if not file.is_file():
            raise InvalidInput(f"{shown}, which is a folder or a device, not a {kind} file.", field)
        if file.stat().st_size == 0:
            raise InvalidInput(f"{shown}, which is empty (0 bytes), not a {kind}.", field)
        return file.open("rb")
    except InvalidInput:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{shown}, which can't be opened: {reason}.", field) from None
