"""Small files that are expensive to decode."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import soundfile
from PIL import Image


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def jpeg_with_scans(count: int, side: int = 7900) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    content = saved(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * count + content[-2:]


def ppm_with_a_comment(size: int) -> bytes:
    """A picture behind a comment."""
    return b"P6\n#" + b"x" * size + b"\n16 16\n255\n" + bytes(16 * 16 * 3)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has nothing of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"0"))
        + chunk(b"IEND", b"")
    )


def icon_with(png: bytes) -> bytes:
    """An ICO that claims 64x64 pixels and contains this PNG."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 64, 64, 0, 0, 1, 32, len(png), 22) + png


def jpeg_2000(side: int = 7000) -> bytes:
    """An image of one color in JPEG 2000."""
    return saved(Image.new("RGB", (side, side)), "JPEG2000")


def silent_flac(seconds: float = 600, channels: int = 8, rate: int = 48000) -> bytes:
    """Silence, which FLAC stores in a few bytes."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, channels, format="FLAC") as writer:
        second = np.zeros((rate, channels), np.float32)
        for _ in range(round(seconds)):
            writer.write(second)
    return file.getvalue()
