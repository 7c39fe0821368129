"""XMP in mp4 files, a top-level box that FFmpeg does not write, and in images."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from PIL import Image, PngImagePlugin

from .picture_formats import open_picture

# Of the XMP specification, part 3: storage in files.
XMP_BOX = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
MAX_PACKET = 1 << 20  # bytes; larger ones are not read
XMP = "xmp"  # name in the information of PIL's images
PNG_XMP = "XML:com.adobe.xmp"


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


def read_picture_xmp(file: BinaryIO) -> str:
    """Return the packet of XMP of an open image; empty if there is none, or if the image is damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about large images, whose pixels are not decoded here
        try:
            with open_picture(file) as picture:
                packet = picture.info.get(XMP) or picture.info.get(PNG_XMP) or ""
        except Exception:  # PIL raises many types of errors on arbitrary bytes
            return ""
    return packet if isinstance(packet, str) else packet[:MAX_PACKET].decode(errors="replace")


def save_png(picture: Image.Image, target: Path | BinaryIO) -> None:
    """Save an image as PNG, with the packet of XMP in its information, which PIL leaves out.

    Raises:
        OSError: The file cannot be written.
    """
    chunks = PngImagePlugin.PngInfo()
    if packet := picture.info.get(XMP):
        chunks.add_itxt(PNG_XMP, packet)
    picture.save(target, "PNG", pnginfo=chunks)


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
