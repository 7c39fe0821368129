"""Masks of the people in the image, for label RoPE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..request.boxes import Box, default_boxes
from .image import CoverCrop


def person_masks(
    image_height: int,
    image_width: int,
    height: int,
    width: int,
    boxes: Mapping[str, Box] | None = None,
    people: Sequence[str] = ("person1", "person2"),
    areas: Mapping[str, np.ndarray] | None = None,
) -> torch.Tensor:
    """Create masks of people and the background at latent resolution (docs/MODEL.md, section 4).

    Args:
        image_height: Height of the image in pixels.
        image_width: Width of the image in pixels.
        height: Height of the video in pixels, a multiple of 16.
        width: Width of the video in pixels, a multiple of 16.
        boxes: Boxes in the image; a person without one gets the default box.
        people: Their names. Beside one person, the rest of the image is a second one, who is silent: what
            belongs to the background would move with every voice.
        areas: Where people are who have no box, ``h w`` bool of any size with the image's aspect ratio.

    Returns:
        ``P+1 H/8 W/8`` float32, 0 or 1: the people and the background.
    """
    boxes = {**default_boxes(image_height, image_width, people), **(boxes or {})}
    crop = CoverCrop.of(image_height, image_width, height, width)
    rows = _visible_lines(image_height, crop.resized_height, crop.top, height)
    columns = _visible_lines(image_width, crop.resized_width, crop.left, width)
    masks = torch.zeros(max(len(people), 2) + 1, len(rows), len(columns))
    for index, person in enumerate(people):
        if areas is not None and person in areas:
            masks[index] = _visible_area(areas[person], rows / image_height, columns / image_width)
            continue
        left, top, right, bottom = (int(value) for value in boxes[person])
        inside = ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))
        masks[index] = inside.float()
    rest = (masks.sum(dim=0) == 0).float()
    masks[1 if len(people) == 1 else -1] = rest
    return masks


def _visible_area(area: np.ndarray, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Sample an area at relative rows and columns of the image; ``H W`` float32."""
    height, width = area.shape
    down, across = ((lines * side).long() for lines, side in ((rows, height), (columns, width)))
    return torch.from_numpy(area)[down][:, across].float()


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
    """Resize masks ``P+1 h w`` to token resolution and flatten them: ``P+1 S`` with S = h/2 * w/2."""
    height, width = masks.shape[1:]
    return F.interpolate(masks[None], size=(height // 2, width // 2), mode="nearest")[0].flatten(1)
