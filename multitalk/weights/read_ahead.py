"""Prefetch files into the page cache with threads, in parallel with Python's imports.

The bytes are not copied to Python: memory-mapping a file later finds them in the page cache. Importing this
module does not import torch, so that reading can start first.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from .folders import all_part_files
from .host_memory import free_memory

CHUNK_BYTES = 1 << 24
READERS = 4  # enough for disks with parallel requests; each needs little processor time
# Share of the free memory to fill before it is needed; more would evict what was read first.
MEMORY_SHARE = 0.7

_COPY_BYTES = 1 << 20
_WAITING, _READING, _READ = range(3)


class _File:
    """A file and the state of its chunks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.chunks = [_WAITING] * -(-self.size // CHUNK_BYTES)
        self.error: OSError | None = None

    def span(self, chunk: int) -> tuple[int, int]:
        """Return first byte and length of a chunk."""
        start = chunk * CHUNK_BYTES
        return start, min(CHUNK_BYTES, self.size - start)


class ReadAhead:
    """Reads files in the background, in order, each byte once.

    Args:
        paths: The files, in the order in which they will be needed. Files that cannot be opened are left out;
            loading them reports the reason.
        readers: Number of threads.
        limit: Most bytes to read before they are needed; None takes a share of the free memory.

    Attributes:
        total: Bytes of all files.
        limit: Most bytes to read before they are needed.
        seconds: How long reading took; None until it is complete.
    """

    def __init__(self, paths: Iterable[Path], readers: int = READERS, limit: int | None = None) -> None:
        self._files: dict[Path, _File] = {}
        for path in paths:
            try:
                self._files[path] = _File(path)
            except OSError:
                continue
        self.seconds: float | None = None
        self._began = time.monotonic()
        self.total = sum(file.size for file in self._files.values())
        self.limit = max(CHUNK_BYTES, free_memory() * MEMORY_SHARE if limit is None else limit)
        self._state = threading.Condition()
        self._order = iter([(file, n) for file in self._files.values() for n in range(len(file.chunks))])
        self._read = self._needed = 0
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, name=f"read-ahead-{n}", daemon=True) for n in range(readers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def bytes_read(self) -> int:
        """Bytes read so far."""
        with self._state:
            return self._read

    def has(self, path: Path) -> bool:
        """Whether a file is one of those to read."""
        return path in self._files

    def wait(self, path: Path, start: int, end: int) -> None:
        """Wait until a range of a file is in memory; chunks that no thread has started are read here.

        Args:
            path: One of the files.
            start: First byte.
            end: Byte after the last.

        Raises:
            OSError: The file cannot be read, or ends before `end`.
        """
        file = self._files[path]
        if end > file.size:
            raise OSError(f"the file ends at byte {file.size}")
        for chunk in range(start // CHUNK_BYTES, -(-end // CHUNK_BYTES)):
            with self._state:
                while file.chunks[chunk] == _READING:
                    self._state.wait()
                mine = file.chunks[chunk] == _WAITING
                if mine:
                    file.chunks[chunk] = _READING
            if mine:
                self._read_chunk(file, chunk)
            if file.error is not None:
                raise file.error
        with self._state:
            self._needed += end - start
            self._state.notify_all()

    def stop(self) -> None:
        """Stop the threads after their current chunks."""
        with self._state:
            self._stopped = True
            self._state.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._state:
                while not self._stopped and self._read - self._needed >= self.limit:
                    self._state.wait()
                if self._stopped:
                    return
                for file, chunk in self._order:
                    if file.chunks[chunk] == _WAITING:
                        break
                else:
                    return
                file.chunks[chunk] = _READING
            self._read_chunk(file, chunk)

    def _read_chunk(self, file: _File, chunk: int) -> None:
        start, length = file.span(chunk)
        error: OSError | None = None
        try:
            _fill_cache(file.path, start, length)
        except OSError as failure:
            error = failure
        with self._state:
            file.error = file.error or error
            file.chunks[chunk] = _READ
            self._read += length
            if self._read == self.total:
                self.seconds = time.monotonic() - self._began
            self._state.notify_all()


def _fill_cache(path: Path, start: int, length: int) -> None:
    """Read a range of a file into the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if hasattr(os, "posix_fadvise"):  # the kernel then reads ahead, too
            os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_SEQUENTIAL)
        end = start + length
        while start < end:
            done = _read_without_copy(descriptor, start, end - start)
            if done == 0:
                raise OSError(f"the file ends at byte {start}")
            start += done
    finally:
        os.close(descriptor)


def _read_without_copy(descriptor: int, start: int, length: int) -> int:
    """Let the kernel read a range, without a copy if possible; return the number of bytes read."""
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        try:
            return os.sendfile(sink, descriptor, start, length)
        finally:
            os.close(sink)
    except (AttributeError, OSError):  # not every system sends to a device; a disk error is raised again here
        return len(os.pread(descriptor, min(length, _COPY_BYTES), start))


def main(argv: list[str] | None = None) -> int:
    """Run ``python -m multitalk.weights.read_ahead FOLDER``: prefetch the parts of a baked folder."""
    folder = Path((sys.argv[1:] if argv is None else argv)[0])
    reading = ReadAhead(all_part_files(folder))
    while reading.bytes_read < min(reading.total, reading.limit):  # not all of it if memory is short
        time.sleep(0.05)
    reading.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
