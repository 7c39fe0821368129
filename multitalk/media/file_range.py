"""A part of an open file as a file of its own, and the tags that precede audio."""

from __future__ import annotations

import io
from typing import BinaryIO

BinaryFile = BinaryIO | io.RawIOBase

ID3_HEADER = 10


class FileRange(io.RawIOBase):
    """A read-only, seekable view of a file from one byte to another.

    It has no name, so only its content determines the format. An invalid offset in a damaged file moves to
    the nearest end of the view instead of raising an error inside a decoder.

    Args:
        file: A seekable binary file.
        start: First byte.
        end: Byte after the last one; None for the end of the file.
        header: Bytes that replace the first ones of the view.

    Attributes:
        start: First byte.
        length: Number of bytes.
    """

    def __init__(self, file: BinaryFile, start: int = 0, end: int | None = None, header: bytes = b"") -> None:
        self._file, self.start, self._header = file, start, header
        size = file.seek(0, io.SEEK_END)
        self.length = max(0, (size if end is None else min(end, size)) - start)
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset within the view."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.length}[whence]
        self._position = min(max(0, origin + offset), self.length)
        return self._position

    def tell(self) -> int:
        """Return the offset within the view."""
        return self._position

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        """Read into a buffer; return the number of bytes."""
        target = memoryview(buffer).cast("B")
        count = min(len(target), self.length - self._position)
        if self._position < len(self._header):
            data = self._header[self._position : self._position + count]
        else:
            self._file.seek(self.start + self._position)
            data = self._file.read(count)
        target[: len(data)] = data
        self._position += len(data)
        return len(data)

    def read_at(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes at an offset; the position stays as it is."""
        position, data = self._position, bytearray()
        self.seek(offset)
        while len(data) < count and (more := self.read(count - len(data))):
            data += more
        self._position = position
        return bytes(data)


def id3_length(data: bytes) -> int:
    """Return the length of the ID3v2 tag that data starts with, in bytes; 0 without one."""
    if len(data) < ID3_HEADER or data[:3] != b"ID3" or any(byte & 0x80 for byte in data[6:10]):
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    footer = ID3_HEADER if data[5] & 0x10 else 0
    return ID3_HEADER + size + footer


def without_id3(file: BinaryFile) -> FileRange:
    """Return a view of a file that starts after its ID3v2 tags."""
    start = 0
    while length := id3_length(FileRange(file, start).read_at(0, ID3_HEADER)):
        start += length
    return FileRange(file, start)
