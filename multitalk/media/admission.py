"""Limit how much is decoded at the same time in this process, whichever front end it is for."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import Busy
from .stopping import check_stop

TOTAL_BYTES = 4 * 2**30  # of everything that is being decoded, or belongs to a request that is being read
LARGE_BYTES = 2**27  # only one request at a time may decode files larger than this
MAX_PARALLEL = 3  # decoder processes
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.1
BUSY = "The memory for decoding is full with the files of other requests. Try again in a minute."


@dataclass(eq=False)
class _Request:
    """A request that is being read, and the size of its decoded files."""

    held: int = 0
    depth: int = 0


class Admission:
    """Admits files to decoding by their decoded size, which their header announces.

    A file waits until there is room. A request keeps the room of its files until it has been read completely,
    so that many requests cannot each hold one file in memory while they wait for room for the next.

    Args:
        total: Decoded bytes of all requests that are being read.
        large: Decoded bytes of a file above which only one request at a time is admitted.
        parallel: Maximum number of files being decoded.
        patience: Seconds that a file waits for room.
    """

    def __init__(
        self,
        total: int = TOTAL_BYTES,
        large: int = LARGE_BYTES,
        parallel: int = MAX_PARALLEL,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._total, self._large, self._parallel, self._patience = total, large, parallel, patience
        self._changed = threading.Condition()
        self._running = 0
        self._held = 0
        self._large_request: _Request | None = None
        self._threads = threading.local()

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Enclose the reading of a request, all of whose files are decoded in this thread."""
        request = getattr(self._threads, "request", None)
        if request is None:
            request = self._threads.request = _Request()
        request.depth += 1
        try:
            yield
        finally:
            request.depth -= 1
            if not request.depth:
                self._threads.request = None
                with self._changed:
                    self._held -= request.held
                    if self._large_request is request:
                        self._large_request = None
                    self._changed.notify_all()

    @contextlib.contextmanager
    def decoding(self, size: int) -> Iterator[None]:
        """Enclose the decoding of a file.

        Args:
            size: Decoded size in bytes.

        Raises:
            Busy: There was no room within the time.
            Cancelled: The caller has gone.
        """
        with self.request():
            self._enter(min(size, self._total), self._threads.request)
            try:
                yield
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()

    def _enter(self, size: int, request: _Request) -> None:
        deadline = time.monotonic() + self._patience
        with self._changed:
            while not self._has_room(size, request):
                check_stop()
                if time.monotonic() > deadline:
                    raise Busy(BUSY)
                self._changed.wait(POLL_SECONDS)
            self._running += 1
            self._held += size
            request.held += size
            if size > self._large:
                self._large_request = request

    def _has_room(self, size: int, request: _Request) -> bool:
        if self._running >= self._parallel or self._held + size > self._total:
            return False
        return size <= self._large or self._large_request in (None, request)


admission = Admission()
