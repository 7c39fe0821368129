"""Read input files by path, only below the allowed folders after resolving links."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ..errors import InvalidInput
from .sources import MAX_BYTES

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
        raise InvalidInput(f"{field} must be a file, not a folder or device.", field)
    return real


def read_path(text: str, roots: Sequence[Path], field: str) -> bytes:
    """Read a file; see :func:`resolve_path`.

    Raises:
        InvalidInput: The file is not allowed, empty, over 100 MB, or cannot be read.
    """
    real = resolve_path(text, roots, field)
    try:
        # O_NOFOLLOW: rejects a link that replaced the file after the check
        with open(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            opened = Path(f"/proc/self/fd/{file.fileno()}")
            if opened.exists() and Path(os.path.realpath(opened)) != real:
                raise InvalidInput(f"{field} changed while it was being read.", field)
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise InvalidInput(
                    f"{field} must have at most {MAX_BYTES // 1_000_000} MB, not {size} bytes.", field
                )
            data = file.read(MAX_BYTES)
    except OSError:
        raise InvalidInput(f"{field}: the file cannot be read.", field) from None
    if not data:
        raise InvalidInput(f"{field} is empty (0 bytes).", field)
    return data
