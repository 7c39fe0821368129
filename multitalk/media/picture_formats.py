"""The image formats that are read, and opening them; no other format is parsed."""

from __future__ import annotations

import io
from typing import BinaryIO

from PIL import Image

from .color_codes import add_profile

START = 64  # bytes that show the format
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")
END_OF_JPEG = b"\xff\xd9"


def picture_format(start: bytes) -> str | None:
    """Return PIL's name of the format that a file starts as; None for formats that are not read.

    Args:
        start: The first ``START`` bytes.
    """
    if start[4:8] == b"ftyp":
        size = int.from_bytes(start[:4], "big")
        brands = [start[at : at + 4] for at in (8, *range(16, min(size, len(start)), 4))]
        if any(brand in AVIF_BRANDS for brand in brands):
            return "AVIF"
        return "HEIF" if any(brand in HEIF_BRANDS for brand in brands) else None
    if start[:4] == b"RIFF":
        return "WEBP" if start[8:12] == b"WEBP" else None
    for magic, name in (
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"GIF87a", "GIF"),
        (b"GIF89a", "GIF"),
        (b"BM", "BMP"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
    ):
        if start.startswith(magic):
            return name
    return None


def is_picture(file: BinaryIO) -> bool:
    """Return whether an open file starts as an image."""
    file.seek(0)
    return picture_format(file.read(START)) is not None


def open_picture(file: BinaryIO) -> Image.Image:
    """Read the header of an image; its pixels are decoded by :func:`load_picture`.

    Raises:
        ValueError: The file has another format.
        Exception: The header is damaged; PIL raises many types of errors.
    """
    file.seek(0)
    name = picture_format(file.read(START))
    file.seek(0)
    if name is None:
        raise ValueError("not an image format that is read")
    if name == "HEIF":
        from pi_heif import HeifImageFile  # not registered with PIL, whose registry belongs to all

        picture: Image.Image = HeifImageFile(file)
    else:
        Image.init()
        picture = Image.open(file, formats=[name])
    add_profile(picture, file)
    return picture


def load_picture(picture: Image.Image, file: BinaryIO) -> Image.Image:
    """Decode an image; a JPEG file may lack the marker at its end.

    Args:
        picture: What `open_picture` returned.
        file: The same file.

    Raises:
        Exception: The image is damaged.
    """
    try:
        picture.load()
    except OSError:
        file.seek(0)
        content = file.read() + END_OF_JPEG
        if picture_format(content) != "JPEG" or not _has_all_lines(content):
            raise
        picture = Image.open(io.BytesIO(content), formats=["JPEG"])
        picture.load()
    return picture


def _has_all_lines(jpeg: bytes) -> bool:
    """Whether a JPEG file is complete up to its last row of blocks; PIL would not report missing ones."""
    import av

    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    try:
        return len(decoder.decode(av.Packet(jpeg))) == 1
    except av.error.FFmpegError:
        return False
