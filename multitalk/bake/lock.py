"""The lock: the commit of each repository, and size and sha256 of each published file.

huggingface_hub compares only sizes, so only the lock detects a wrong file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import WeightsError
from ..weights.folders import FileRecord

LOCK_FILE = Path(__file__).with_name("lock.json")


@dataclass(frozen=True)
class LockedRepository:
    """A repository's commit, and its files by their paths in it."""

    commit: str
    files: Mapping[str, FileRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class Lock:
    """Locked repositories by name, and files that are in no repository by name."""

    repositories: Mapping[str, LockedRepository] = field(default_factory=dict)
    files: Mapping[str, FileRecord] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path = LOCK_FILE) -> Lock:
        """Read a lock file.

        Raises:
            WeightsError: It is missing or damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            repositories = {
                name: LockedRepository(_matching("[0-9a-f]{40}", entry["commit"]), _records(entry["files"]))
                for name, entry in content["repositories"].items()
            }
            return cls(repositories, _records(content["files"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(f"Lock file {path} cannot be read: {' '.join(str(error).split())}.") from error

    def write(self, path: Path = LOCK_FILE) -> None:
        """Write the lock, sorted."""
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _records(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, FileRecord]:
    return {
        name: FileRecord(int(entry["size"]), _matching("[0-9a-f]{64}", entry["sha256"]))
        for name, entry in entries.items()
    }


def _matching(pattern: str, text: Any) -> str:
    if not re.fullmatch(pattern, str(text)):
        raise ValueError(f"{str(text)[:50]!r} is not a hash")
    return str(text)
