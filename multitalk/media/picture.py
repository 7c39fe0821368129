"""Reading the one picture a video starts from."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..errors import InvalidInput
from .files import open_file

MAX_PIXELS = 64_000_000
MIN_SIDE = 16
MAX_ASPECT_RATIO = (
    20  # of the longer side to the shorter one: a video shows next to nothing of a longer picture
)
# Formats that are pictures all the way through: PIL would hand EPS and PDF to another program, for example.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO")


def read_picture(source: Any, field: str = "image") -> Image.Image:
    """Reads a picture, turned the way its camera says.

    Args:
        source: A path, a file's bytes, or a PIL image.
        field: What an error calls it.

    Returns:
        An RGB picture of its own (never the caller's object); the first one of an animation.

    Raises:
        InvalidInput: It can't be read, has a side below 16 pixels, more than 64 megapixels, one side more
            than 20 times the other, or 32 bits a channel (found out from its header, before it is decoded).
    """
    if isinstance(source, Image.Image):
        return _decode(source, "the picture", field)
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise InvalidInput(f"{field} is empty (0 bytes), but must be a picture file.", field)
        return _read(io.BytesIO(source), f"{len(source)} bytes", field)
    if isinstance(source, (str, Path)):
        with open_file(source, field, "picture") as file:
            return _read(file, repr(str(source)), field)
    raise InvalidInput(
        f"{field} is a {type(source).__name__}, but must be a path, a file's bytes, or a PIL image.", field
    )


def _read(file: Any, name: str, field: str) -> Image.Image:
    with warnings.catch_warnings():
        # PIL warns of large pictures, where ours is the stricter limit, and of odd camera data.
        warnings.simplefilter("ignore")
        try:
            Image.init()
            known = [kind for kind in FORMATS if kind in Image.OPEN]
            with Image.open(file, formats=known) as picture:
                return _decode(picture, name, field)
        except InvalidInput:
            raise
        except Image.DecompressionBombError:
            raise InvalidInput(_too_large(name, field), field) from None
        except Exception:  # a decoder fed with arbitrary bytes raises all kinds of errors
            raise InvalidInput(_unreadable(name, field), field) from None


def _decode(picture: Image.Image, name: str, field: str) -> Image.Image:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise InvalidInput(_too_large(f"{name}, {width}x{height}", field), field)
    if min(width, height) < MIN_SIDE:
        raise InvalidInput(
            f"{field} ({name}) is {width}x{height} pixels, but each side must have {MIN_SIDE} or more.",
            field,
        )
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise InvalidInput(
            f"{field} ({name}) is {width}x{height} pixels, but the longer side may be at most "
            f"{MAX_ASPECT_RATIO} times the shorter one: cut the picture.",
            field,
        )
    # PIL reads 16-bit grey as "I;16", but that of a PGM as "I", with 65535 for white; what else comes as "I"
    # or "F" doesn't tell which value is white
    sixteen_bits = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM")
    if picture.mode in ("I", "F") and not sixteen_bits:
        raise InvalidInput(
            f"{field} ({name}) has 32 bits a pixel and channel: save it with 8 or 16 bits a channel.", field
        )
    try:
        picture.load()
        upright = _upright(picture)
        if sixteen_bits:  # PIL would clip values at 255 instead of scaling them
            upright = Image.fromarray((np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8))
        return upright.convert("RGB")
    except Exception:
        raise InvalidInput(_unreadable(name, field), field) from None


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged camera data doesn't make the picture itself unusable
        return picture


def _too_large(name: str, field: str) -> str:
    return f"{field} ({name}) has more than {MAX_PIXELS // 1_000_000} megapixels, the most that is accepted."


def _unreadable(name: str, field: str) -> str:
    return f"{field} ({name}) can't be read as a picture: use an undamaged PNG, JPEG or WebP file."
