"""Masks of the people in the image, for label RoPE."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .image import CoverCrop

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the image, y down
HALF_MARGIN = 0.05  # margin of each half, relative to its height and width


def half_boxes(image_height: int, image_width: int) -> dict[str, Box]:
    """Return the default boxes of both people: left and right half (docs/MODEL.md, section 4)."""
    half = image_width // 2
    top, bottom = int(HALF_MARGIN * image_height), int((1 - HALF_MARGIN) * image_height)
    left, right = int(HALF_MARGIN * half), int((1 - HALF_MARGIN) * half)
    return {"person1": (left, top, right, bottom), "person2": (left + half, top, right + half, bottom)}


def person_masks(
    image_height: int, image_width: int, height: int, width: int, boxes: dict[str, Box] | None = None
) -> torch.Tensor:
    """Create masks of two people and the background at latent resolution (docs/MODEL.md, section 4).

    Args:
        image_height: Height of the image in pixels.
        image_width: Width of the image in pixels.
        height: Height of the video in pixels, a multiple of 16.
        width: Width of the video in pixels, a multiple of 16.
        boxes: Boxes in the image; a person without one gets the default box.

    Returns:
        ``3 H/8 W/8`` float32, 0 or 1: person 1, person 2 and the background.
    """
    boxes = {**half_boxes(image_height, image_width), **(boxes or {})}
    crop = CoverCrop.of(image_height, image_width, height, width)
    rows = _visible_lines(image_height, crop.resized_height, crop.top, height)
    columns = _visible_lines(image_width, crop.resized_width, crop.left, width)
    masks = torch.zeros(3, len(rows), len(columns))
    for index, person in enumerate(("person1", "person2")):
        left, top, right, bottom = (int(value) for value in boxes[person])
        inside = ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))
        masks[index] = inside.float()
    masks[2] = (masks[0] + masks[1] == 0).float()
    return masks


def _visible_lines(lines: int, resized: int, start: int, length: int) -> torch.Tensor:
    """Return the image row of each latent row of the video; used for columns in the same way.

    Upstream resizes a mask with the image, crops it and resizes it to latents, each time with
    nearest-neighbor interpolation. The same steps on row numbers need almost no memory, even for a very large
    resized image.

    Args:
        lines: Rows of the image.
        resized: Rows of the resized image.
        start: First row of the crop.
        length: Rows of the crop, a multiple of 8.
    """
    numbers = torch.arange(lines, dtype=torch.float32)[None, None]
    covering = F.interpolate(numbers, size=resized, mode="nearest")[:, :, start : start + length]
    return F.interpolate(covering, size=length // 8, mode="nearest")[0, 0]


def token_masks(masks: torch.Tensor) -> torch.Tensor:
    """Resize masks ``3 h w`` to token resolution and flatten them: ``3 S`` with S = h/2 * w/2."""
    height, width = masks.shape[1:]
    return F.interpolate(masks[None], size=(height // 2, width // 2), mode="nearest")[0].flatten(1)
