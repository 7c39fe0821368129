"""The lock: a commit for each repository, and size and sha256 of each file.

The client that downloads compares nothing but sizes, so the lock is what says that a file is the right one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import WeightsError
from ..weights.files import FileRecord

LOCK_FILE = Path(__file__).with_name("lock.json")


@dataclass(frozen=True)
class LockedRepository:
    """A repository's commit, and its files by their paths in it."""

    commit: str
    files: Mapping[str, FileRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class Lock:
    """What is locked: repositories by name, and files that lie on no hub."""

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
                name: LockedRepository(_commit(entry["commit"]), _files(entry["files"]))
                for name, entry in content["repositories"].items()
            }
            return cls(repositories, _files(content["files"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise WeightsError(f"The lock {path} can't be used: {reason}.") from error

    def write(self, path: Path = LOCK_FILE) -> None:
        """Write it, sorted, so that a change shows as one."""
        content = {
            "repositories": {
                name: {"commit": entry.commit, "files": _describe(entry.files)}
                for name, entry in sorted(self.repositories.items())
            },
            "files": _describe(self.files),
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _files(entries: Mapping[str, Mapping[str, object]]) -> dict[str, FileRecord]:
    files = {}
    for name, entry in entries.items():
        size, sha256 = entry["size"], entry["sha256"]
        if not isinstance(size, int) or not re.fullmatch("[0-9a-f]{64}", str(sha256)):
            raise ValueError(f"{name} has no size or no sha256")
        files[name] = FileRecord(size, str(sha256))
    return files


def _commit(text: object) -> str:
    if not re.fullmatch("[0-9a-f]{40}", str(text)):
        raise ValueError(f"{str(text)[:50]!r} is no commit")
    return str(text)


def _describe(files: Mapping[str, FileRecord]) -> dict[str, dict[str, object]]:
    return {name: {"size": file.size, "sha256": file.sha256} for name, file in sorted(files.items())}
