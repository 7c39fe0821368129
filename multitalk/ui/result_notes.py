"""What the server notes of each result beside its file: the owner and the title."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path
from typing import Any

NOTES = ".notes"  # a folder beside the results
MOST_LETTERS = 500  # of a title

logger = logging.getLogger(__name__)


def write_note(folder: Path, name: str, owner: str, title: str) -> None:
    """Note the owner and the title of a result; a failure is logged, and nobody owns the result.

    Args:
        folder: Folder of the results.
        name: The result's file name.
        owner: The browser that requested it.
        title: The whole title; the file name has its beginning.
    """
    note = {"owner": owner, "title": title[:MOST_LETTERS]}
    try:
        (folder / NOTES).mkdir(exist_ok=True)
        _path(folder, name).write_text(json.dumps(note), encoding="utf-8")
    except OSError as error:
        logger.warning("cannot note the owner of %s: %s", name, error)


def read_note(folder: Path, name: str) -> tuple[str, str]:
    """Return the owner and the title of a result; empty if they are unknown."""
    note: Any = None
    with contextlib.suppress(OSError, ValueError):
        note = json.loads(_path(folder, name).read_text(encoding="utf-8"))
    if not isinstance(note, dict):
        return "", ""
    owner, title = note.get("owner"), note.get("title")
    return owner if isinstance(owner, str) else "", title if isinstance(title, str) else ""


def delete_note(folder: Path, name: str) -> None:
    """Delete the note of a result.

    Raises:
        OSError: It cannot be deleted.
    """
    _path(folder, name).unlink(missing_ok=True)


def _path(folder: Path, name: str) -> Path:
    return folder / NOTES / f"{name}.json"
