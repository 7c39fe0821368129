"""The boxes of people who have none."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the image, y down
MARGIN = 0.05  # of each column, relative to its height and width


def default_boxes(image_height: int, image_width: int, people: Sequence[str]) -> dict[str, Box]:
    """Return a column of the image for each person: halves for two people (docs/MODEL.md, section 4)."""
    width = image_width // len(people)
    top, bottom = int(MARGIN * image_height), int((1 - MARGIN) * image_height)
    left, right = int(MARGIN * width), int((1 - MARGIN) * width)
    return {
        person: (left + index * width, top, right + index * width, bottom)
        for index, person in enumerate(people)
    }
