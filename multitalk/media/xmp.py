"""XMP in mp4 files: a top-level box, which FFmpeg does not write."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

# Of the XMP specification, part 3: storage in files.
XMP_BOX = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
MAX_PACKET = 1 << 20  # bytes; larger ones are not read


def append_xmp(path: Path, packet: str) -> None:
    """Append a packet of XMP to a complete mp4; nothing else in the file moves."""
    data = packet.encode()
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(XMP_BOX) + len(data), b"uuid") + XMP_BOX + data)


def read_xmp(file: BinaryIO) -> str:
    """Return the packet of XMP of an mp4; empty if there is none."""
    for kind, size in _boxes(file):
        if kind == b"uuid" and len(XMP_BOX) < size <= MAX_PACKET and file.read(len(XMP_BOX)) == XMP_BOX:
            return file.read(size - len(XMP_BOX)).decode(errors="replace")
    return ""


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield kind and content size of each top-level box, with the file at the start of its content."""
    position, end = 0, file.seek(0, 2)
    while position + 8 <= end:
        file.seek(position)
        size, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            size, header = int.from_bytes(file.read(8)), 16
        elif size == 0:  # until the end of the file
            size = end - position
        if size < header:
            return
        yield kind, min(size, end - position) - header
        position += size
