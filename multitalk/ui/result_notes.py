"""What the server notes of each result beside its file: the owner, the title, and the dubbed video."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

NOTES = ".notes"  # a folder beside the results
MOST_LETTERS = 500  # of a title

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Note:
    """What is noted of a result; a text is empty if it is unknown.

    Attributes:
        owner: The browser that requested it.
        title: The whole title; the file name has its beginning.
        source: The uploaded video that was dubbed.
    """

    owner: str = ""
    title: str = ""
    source: str = ""


def write_note(folder: Path, name: str, note: Note) -> None:
    """Write the note of a result; a failure is logged, and nobody owns the result.

    Args:
        folder: Folder of the results.
        name: The result's file name.
        note: The note.
    """
    content = asdict(replace(note, title=note.title[:MOST_LETTERS]))
    try:
        (folder / NOTES).mkdir(exist_ok=True)
        _path(folder, name).write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        logger.warning("cannot note the owner of %s: %s", name, error)


def read_note(folder: Path, name: str) -> Note:
    """Return the note of a result; notes of earlier versions have fewer values."""
    content: Any = None
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(_path(folder, name).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        return Note()
    names = [field.name for field in fields(Note)]
    return Note(**{name: content[name] for name in names if isinstance(content.get(name), str)})


def delete_note(folder: Path, name: str) -> None:
    """Delete the note of a result.

    Raises:
        OSError: It cannot be deleted.
    """
    _path(folder, name).unlink(missing_ok=True)


def _path(folder: Path, name: str) -> Path:
    return folder / NOTES / f"{name}.json"
