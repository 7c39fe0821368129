"""Masks of people: where somebody is, as an image instead of a box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InvalidInput
from ..media.picture import read_picture
from .checks import check_names
from .script import PEOPLE

BRIGHT = 128  # lightest channel of a pixel that belongs to a person
MIN_SHARE = 0.002  # of the mask; colors of fewer pixels are the edges of others
MAX_SIDE = 1024  # pixels of a mask that are kept: a video has at most 256 tokens per side
SAME_SHAPE = 0.02  # relative difference between the aspect ratios of mask and image


def read_masks(value: Any, image_size: tuple[int, int] | None) -> dict[str, np.ndarray] | None:
    """Read the masks of people.

    Args:
        value: An image by person, bright where the person is; or one image whose colored areas on black are
            the people from left to right; or None.
        image_size: (width, height) of the image, whose aspect ratio masks must have; None skips the check.

    Returns:
        ``H W`` bool by person.

    Raises:
        InvalidInput: A mask cannot be read, is empty, or has another aspect ratio than the image.
    """
    if value is None or (isinstance(value, Mapping) and not value):
        return None
    if not isinstance(value, Mapping):
        return _colored_areas(_read(value, "masks", image_size))
    check_names(value, PEOPLE, "person of masks")
    masks = {}
    for person, source in value.items():
        mask = _read(source, f"masks.{person}", image_size).max(axis=2) >= BRIGHT
        if not mask.any():
            raise InvalidInput(
                f"masks.{person} is black. Paint the person white, on black.", f"masks.{person}"
            )
        masks[person] = mask
    return masks


def _read(source: Any, field: str, image_size: tuple[int, int] | None) -> np.ndarray:
    """Read a mask as ``H W 3`` uint8."""
    mask = read_picture(source, field)
    if image_size is not None:
        ratio = mask.width / mask.height * image_size[1] / image_size[0]
        if abs(ratio - 1) > SAME_SHAPE:
            sizes = [f"{width}x{height}" for width, height in (mask.size, image_size)]
            raise InvalidInput(
                f"{field} is {sizes[0]}, but the image is {sizes[1]}. Use a mask with its aspect ratio.",
                field,
            )
    if max(mask.size) > MAX_SIDE:
        scale = MAX_SIDE / max(mask.size)
        width, height = (max(1, round(side * scale)) for side in mask.size)
        mask = mask.resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(mask)


def _colored_areas(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the area of each color, from left to right."""
    codes = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    codes[pixels.max(axis=2) < BRIGHT] = 0
    colors, counts = np.unique(codes, return_counts=True)
    areas = [
        codes == color
        for color, count in zip(colors, counts, strict=True)
        if color and count >= MIN_SHARE * codes.size
    ]
    if not 1 <= len(areas) <= len(PEOPLE):
        raise InvalidInput(
            f"masks has {len(areas)} colored areas. Paint each person in one plain color on black, at most "
            f"{len(PEOPLE)} people.",
            "masks",
        )
    areas.sort(key=lambda area: float(np.flatnonzero(area.any(axis=0)).mean()))
    return dict(zip(PEOPLE, areas, strict=False))
