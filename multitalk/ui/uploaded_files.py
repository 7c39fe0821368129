"""The files in Gradio's folder: which browsers may use each of them, and how much space they take."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import MultiTalkError
from ..runtime.environment import read_number

GB = 1e9
MIN_SIZE = 64 * 1024  # a file counts as at least this, so that empty files are limited too
IN_USE_SECONDS = 3600.0  # younger files may be in a form, and are not deleted to make room
MAX_SECONDS = 24 * 3600.0


class NoRoom(MultiTalkError):
    """An upload exceeds a limit.

    Args:
        message: One sentence for the person.
        status: HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class UploadLimits:
    """Limits of the files in Gradio's folder, in bytes.

    Attributes:
        total: Of all files.
        per_browser: Of the files of one browser.
        keep_free: Space on the disk that uploads leave free, for results.
    """

    total: float = 10 * GB
    per_browser: float = 2 * GB
    keep_free: float = 2 * GB


def limits_from_environment() -> UploadLimits:
    """Read the limits from ``UPLOAD_LIMIT_GB``, ``UPLOAD_LIMIT_PER_BROWSER_GB`` and ``UPLOAD_KEEP_FREE_GB``.

    Raises:
        InvalidInput: A variable is not a number above 0.
    """
    defaults = UploadLimits()

    def read(name: str, default: float) -> float:
        return read_number(name, default / GB, "gigabytes") * GB

    return UploadLimits(
        read("UPLOAD_LIMIT_GB", defaults.total),
        read("UPLOAD_LIMIT_PER_BROWSER_GB", defaults.per_browser),
        read("UPLOAD_KEEP_FREE_GB", defaults.keep_free),
    )


@dataclass
class _File:
    browsers: set[str]
    size: int
    added: float = field(default_factory=time.time)


class FileOwners:
    """The files, their owners and their size.

    Args:
        limits: Limits of uploads.
    """

    def __init__(self, limits: UploadLimits | None = None) -> None:
        self._limits = limits or UploadLimits()
        self._files: dict[str, _File] = {}
        self._arriving: Counter[str] = Counter()  # bytes of uploads in progress, by browser
        self._lock = threading.Lock()

    def add(self, path: str, browser: str) -> None:
        """Give a browser access to a file."""
        path, size = os.path.abspath(path), 0
        with suppress(OSError):
            size = os.path.getsize(path)
        with self._lock:
            file = self._files.setdefault(path, _File(set(), 0))
            file.browsers.add(browser)
            file.size, file.added = max(size, MIN_SIZE), time.time()
            self._make_room(browser, 0)

    def has(self, path: str, browser: str) -> bool:
        """Return whether a browser has access to a file."""
        with self._lock:
            file = self._files.get(os.path.abspath(path))
            return file is not None and browser in file.browsers

    def delete_old(self, seconds: float = MAX_SECONDS) -> None:
        """Delete the files that were added longer ago."""
        with self._lock:
            for path, file in list(self._files.items()):
                if file.added < time.time() - seconds:
                    self._delete(path)

    def check_room(self, browser: str, size: int, folder: Path) -> None:
        """Check that a browser may store more bytes in a folder; old files are deleted if that helps.

        Raises:
            NoRoom: A limit would be exceeded.
        """
        with self._lock:
            self._check_room(browser, size, folder)

    @contextmanager
    def receiving(self, browser: str, folder: Path) -> Iterator[Callable[[int], None]]:
        """Count the bytes of an upload to a folder while it arrives.

        Yields:
            A function that admits more bytes, or raises `NoRoom`.
        """
        admitted = 0

        def admit(size: int) -> None:
            nonlocal admitted
            with self._lock:
                self._check_room(browser, size, folder)
                admitted += size
                self._arriving[browser] += size

        try:
            yield admit
        finally:
            with self._lock:
                self._arriving[browser] -= admitted
                self._arriving += Counter()  # drops browsers without uploads in progress

    def _check_room(self, browser: str, size: int, folder: Path) -> None:
        limits = self._limits
        self._make_room(browser, size)
        if self._used(browser) + size > limits.per_browser:
            allowed = f"{limits.per_browser / GB:g} GB"
            raise NoRoom(f"Your uploads exceed {allowed}. Use smaller files, or try again in an hour.", 413)
        if self._used() + size > limits.total:
            raise NoRoom("The space for uploads on this server is full. Try again later.", 507)
        if shutil.disk_usage(folder).free - size < limits.keep_free:
            raise NoRoom("The disk of this server is almost full. Try again later.", 507)

    def _used(self, browser: str | None = None) -> int:
        """Return the bytes of a browser, or of all."""
        files = self._files.values()
        if browser is None:
            return sum(file.size for file in files) + self._arriving.total()
        return sum(file.size for file in files if browser in file.browsers) + self._arriving[browser]

    def _make_room(self, browser: str, size: int) -> None:
        """Delete the oldest files if a limit would be exceeded, except those that may be in use."""

        def exceeds(total: bool) -> bool:
            limit = self._limits.total if total else self._limits.per_browser
            return self._used(None if total else browser) + size > limit

        if not exceeds(True) and not exceeds(False):
            return
        for path in [path for path in self._files if not os.path.exists(path)]:
            del self._files[path]
        for path, file in sorted(self._files.items(), key=lambda item: item[1].added):
            if file.added > time.time() - IN_USE_SECONDS:
                return
            if exceeds(True) or (exceeds(False) and file.browsers == {browser}):
                self._delete(path)

    def _delete(self, path: str) -> None:
        with suppress(OSError):
            os.unlink(path)
        del self._files[path]
