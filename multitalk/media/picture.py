"""Reading the image that a video starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InvalidInput
from .decoding import decode
from .files import open_file
from .picture_decoding import convert_picture


def read_picture(source: Any, field: str = "image") -> Image.Image:
    """Read an image, rotated according to its EXIF orientation.

    Args:
        source: A path, the bytes of a file, or a PIL image.
        field: The request's field, for errors.

    Returns:
        A new RGB image; of an animation, the first frame.

    Raises:
        InvalidInput: The image cannot be read, has a side below 16 pixels, more than 64 megapixels, one side
            more than 20 times the other, or 32 bits per channel. Sizes are checked before decoding.
    """
    if isinstance(source, Image.Image):
        return convert_picture(source, "PIL image", field)
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise InvalidInput(f"{field} is empty (0 bytes). Provide an image file.", field)
        return as_picture(*decode("picture", source, f"{len(source)} bytes", field))
    if isinstance(source, (str, Path)):
        with open_file(source, field, "image") as file:
            return as_picture(*decode("picture", file, repr(str(source)), field))
    raise InvalidInput(
        f"{field} must be a path, the bytes of a file, or a PIL image, not {type(source).__name__}.", field
    )


def as_picture(reply: dict[str, Any], pixels: np.ndarray) -> Image.Image:
    """Return the image in a decoder's reply."""
    return Image.frombytes("RGB", tuple(reply["size"]), pixels)
