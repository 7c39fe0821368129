"""Temporary folders that do not outlive their process: the next start removes those of a killed one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PURPOSES = ("page", "job", "fitness", "espeak")
NAME = re.compile(rf"multitalk-(?:{'|'.join(PURPOSES)})-\w{{8}}", re.ASCII)
_locks: set[int] = set()


@contextlib.contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """Create a folder, locked as long as it is in use, and delete it at the end.

    Args:
        purpose: One of `PURPOSES`, part of the folder's name.
    """
    folder, lock = create_locked_folder(purpose)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _locks.discard(lock)
        os.close(lock)


def create_locked_folder(purpose: str) -> tuple[Path, int]:
    """Create a folder that stays locked until the process ends.

    Args:
        purpose: One of `PURPOSES`.

    Returns:
        The folder, and the file descriptor that holds its lock, which the system releases with the process.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"multitalk-{purpose}-"))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):  # another process is just looking whether it is abandoned
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if folder.is_dir():
                _locks.add(lock)
                return folder, lock
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned_folders() -> None:
    """Remove the folders of processes that were killed; those of running processes are locked."""
    try:
        paths = list(Path(tempfile.gettempdir()).iterdir())
    except OSError:  # the folder cannot be listed
        return
    for path in paths:
        if not NAME.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError):  # a link, of another user, or locked
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(folder).st_uid == os.geteuid():
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(folder)


def remove_old_parts(folder: Path, pattern: str, seconds: float) -> None:
    """Remove the half-written files that killed processes left in a folder which other processes use too.

    Args:
        folder: The folder, which need not exist.
        pattern: Names of half-written files.
        seconds: Files that were changed more recently may still be written to.
    """
    for part in folder.glob(pattern):
        with contextlib.suppress(OSError):
            if part.stat().st_mtime < time.time() - seconds:
                part.unlink()


def _release_in_child() -> None:
    """A forked process would keep its parent's folders locked."""
    for lock in _locks:
        with contextlib.suppress(OSError):
            os.close(lock)
    _locks.clear()


os.register_at_fork(after_in_child=_release_in_child)
