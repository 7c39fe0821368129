"""Decoding image files to upright sRGB."""

from __future__ import annotations

import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from ..errors import InvalidInput
from .picture_colors import to_srgb
from .picture_formats import load_picture, open_picture

MAX_PIXELS = 64_000_000
MIN_SIDE = 16
MAX_ASPECT_RATIO = 20  # longer side to shorter side; a video would show only a small part of a longer image


def decode_picture(file: BinaryIO, name: str, field: str) -> Image.Image:
    """Decode an open file.

    Args:
        file: A seekable binary file.
        name: What the file is called in errors.
        field: The request's field, for errors.

    Raises:
        InvalidInput: See :func:`multitalk.media.picture.read_picture`.
    """
    with warnings.catch_warnings():
        # PIL warns about large images, for which the limit here is stricter, and about invalid EXIF data.
        warnings.simplefilter("ignore")
        try:
            with open_picture(file) as picture:
                return convert_picture(picture, name, field, file)
        except InvalidInput:
            raise
        except Image.DecompressionBombError:
            raise InvalidInput(_too_large(name, field), field) from None
        except Exception:  # decoders raise many types of errors on arbitrary bytes
            raise InvalidInput(_unreadable(name, field), field) from None


def convert_picture(picture: Image.Image, name: str, field: str, file: BinaryIO | None = None) -> Image.Image:
    """Check the size of an opened image, decode it and convert it to upright sRGB.

    Args:
        picture: The image.
        name: What it is called in errors.
        field: The request's field, for errors.
        file: The file that it was opened from, if there is one.
    """
    _check_size(picture, name, field)
    if picture.mode in ("I", "F"):  # the value of white is unknown
        raise InvalidInput(
            f"{field} ({name}) has 32 bits per channel. Save it with 8 or 16 bits per channel.", field
        )
    try:
        if file is not None:
            picture = load_picture(picture, file)
        upright = _upright(picture)
        if upright.mode.startswith("I;16"):  # gray, of which PIL would clip values at 255 instead of scaling
            gray = Image.fromarray((np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8))
            gray.info = upright.info
            upright = gray
        return to_srgb(upright)
    except Exception:
        raise InvalidInput(_unreadable(name, field), field) from None


def _check_size(picture: Image.Image, name: str, field: str) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise InvalidInput(_too_large(f"{name}, {width}x{height}", field), field)
    if min(width, height) < MIN_SIDE:
        raise InvalidInput(
            f"{field} ({name}) must be at least {MIN_SIDE} pixels on each side, not {width}x{height}.", field
        )
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise InvalidInput(
            f"{field} ({name}) is {width}x{height} pixels, but the longer side must be at most "
            f"{MAX_ASPECT_RATIO} times the shorter side. Crop the image.",
            field,
        )


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # the image is usable without its EXIF data
        return picture


def _too_large(name: str, field: str) -> str:
    return f"{field} ({name}) has more than {MAX_PIXELS // 1_000_000} megapixels. Use a smaller image."


def _unreadable(name: str, field: str) -> str:
    return (
        f"{field} ({name}) cannot be read as an image. Use an undamaged PNG, JPEG, WebP, AVIF, HEIC, GIF, "
        "BMP or TIFF file."
    )
