"""Size and sha256 of files, as in the manifest and the lock. Importing this module does not import torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class FileRecord:
    """A file's size in bytes and its sha256."""

    size: int
    sha256: str


def hash_file(path: Path) -> str:
    """Compute the sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:  # hashlib.file_digest needs Python 3.11; --lock works with 3.10
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
