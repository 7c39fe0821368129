"""Files as manifest and lock describe them: size and sha256. Needs no torch, so a fetch can do with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 1 << 24


@dataclass(frozen=True)
class FileRecord:
    """A file's size in bytes and its sha256."""

    size: int
    sha256: str


def hash_file(path: Path) -> str:
    """Sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
