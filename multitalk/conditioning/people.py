"""Who is where in the picture: masks of the people for label RoPE."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .image import CoverCrop

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the picture, y down
HALF_MARGIN = 0.05  # of each half's height and width that belongs to nobody


def half_boxes(image_height: int, image_width: int) -> dict[str, Box]:
    """Person 1 in the left half and person 2 in the right one, each with a margin (docs/MODEL.md, section 4)."""
    half = image_width // 2
    top, bottom = int(HALF_MARGIN * image_height), int((1 - HALF_MARGIN) * image_height)
    left, right = int(HALF_MARGIN * half), int((1 - HALF_MARGIN) * half)
    return {"person1": (left, top, right, bottom), "person2": (left + half, top, right + half, bottom)}


def person_masks(
    image_height: int, image_width: int, height: int, width: int, boxes: dict[str, Box] | None = None
) -> torch.Tensor:
    """Masks of two people and the background at latent size.

    Args:
        image_height: Height of the picture in pixels.
        image_width: Width of the picture in pixels.
        height: Height of the video in pixels, a multiple of 16.
        width: Width of the video in pixels, a multiple of 16.
        boxes: Boxes in the picture; a person without one gets their half.

    Returns:
        ``3 H/8 W/8`` float32 of 0 and 1: person 1, person 2, and what belongs to neither.
    """
    boxes = {**half_boxes(image_height, image_width), **(boxes or {})}
    crop = CoverCrop.of(image_height, image_width, height, width)
    rows = _shown_lines(image_height, crop.resized_height, crop.top, height)
    columns = _shown_lines(image_width, crop.resized_width, crop.left, width)
    masks = torch.zeros(3, len(rows), len(columns))
    for index, person in enumerate(("person1", "person2")):
        left, top, right, bottom = (int(value) for value in boxes[person])
        inside = ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))
        masks[index] = inside.float()
    masks[2] = (masks[0] + masks[1] == 0).float()
    return masks


def _shown_lines(lines: int, resized: int, start: int, length: int) -> torch.Tensor:
    """The picture's row that each latent row of the video shows, or the same for columns.

    A mask is resized with the picture, cut, and resized to latents, each time to the nearest. These are its
    line numbers on the same way, which takes next to no memory however large the picture becomes.

    Args:
        lines: Of the picture.
        resized: Of the picture resized to cover the video.
        start: First one that is cut out.
        length: How many are cut out, a multiple of 8.
    """
    numbers = torch.arange(lines, dtype=torch.float32)[None, None]
    covering = F.interpolate(numbers, size=resized, mode="nearest")[:, :, start : start + length]
    return F.interpolate(covering, size=length // 8, mode="nearest")[0, 0]


def token_masks(masks: torch.Tensor) -> torch.Tensor:
    """Masks at latent size ``3 h w`` to token resolution, flat: ``3 S`` with S = h/2 * w/2."""
    height, width = masks.shape[1:]
    return F.interpolate(masks[None], size=(height // 2, width // 2), mode="nearest")[0].flatten(1)
