"""Files that a job names by path: only those under the allowed folders, once every link is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ..errors import InvalidInput
from .sources import MAX_BYTES

PLACES = "the network volume or the worker's INPUT_ROOTS"


def resolve_path(text: str, roots: Sequence[Path], field: str) -> Path:
    """Where a path leads.

    Args:
        text: The path as the job gives it.
        roots: Folders it may lie in; they may themselves be links.
        field: What an error calls it.

    Returns:
        The file's real path.

    Raises:
        InvalidInput: It leads elsewhere, or to no file. Which of the two is not told for what lies outside,
            so that nobody can ask which files the worker has.
    """
    path = Path(text)
    if not path.is_absolute():
        raise InvalidInput(f"{field} is a relative path, but must be an absolute one under {PLACES}.", field)
    # links of the allowed folders themselves are the deployer's; those below them are followed and checked
    real_roots = [Path(os.path.realpath(root)) for root in roots]
    try:
        real = Path(os.path.realpath(path))
    except (OSError, ValueError):
        raise InvalidInput(f"{field} is no path that could exist.", field) from None
    if not any(real.is_relative_to(root) for root in real_roots):
        raise InvalidInput(f"{field} is outside {PLACES}.", field)
    try:
        mode = real.stat().st_mode
    except OSError:
        raise InvalidInput(f"{field} names a file that isn't there.", field) from None
    if not stat.S_ISREG(mode):
        raise InvalidInput(f"{field} names a folder or a device, not a file.", field)
    return real


def read_path(text: str, roots: Sequence[Path], field: str) -> bytes:
    """The content of a file; see :func:`resolve_path`.

    Raises:
        InvalidInput: It isn't allowed, is empty, over 100 MB, or can't be read.
    """
    real = resolve_path(text, roots, field)
    try:
        # without following: a link that has taken the file's place since it was checked is refused
        with open(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            opened = Path(f"/proc/self/fd/{file.fileno()}")
            if opened.exists() and Path(os.path.realpath(opened)) != real:
                raise InvalidInput(f"{field} changed while it was read.", field)
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise InvalidInput(
                    f"{field} has {size} bytes, but may have at most {MAX_BYTES // 1_000_000} MB.", field
                )
            data = file.read(MAX_BYTES)
    except OSError:
        raise InvalidInput(f"{field} names a file that can't be read.", field) from None
    if not data:
        raise InvalidInput(f"{field} is empty (0 bytes).", field)
    return data
