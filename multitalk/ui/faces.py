"""Finding people in a picture: OpenCV's bundled cascades find faces, a box holds head and shoulders."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image, ImageFilter

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the picture

CASCADE = "haarcascade_frontalface_alt2.xml"
# Longer side and blur of the copies in which faces are looked for: large pictures take no longer, a blur
# makes drawn faces look like photographed ones, and the larger copy shows small faces.
LOOKS = ((400, 2.0), (400, 0.0), (800, 1.0))
# a cascade keeps what it works on in itself, and cv2 must not be imported by two threads at once
_one_at_a_time = threading.Lock()
SMALLEST = 0.06  # of the picture's shorter side


@dataclass(frozen=True)
class FoundPeople:
    """Where two people are.

    Attributes:
        boxes: By person, person1 on the left.
        faces: How many faces were found.
    """

    boxes: dict[str, Box]
    faces: int

    @property
    def note(self) -> str:
        """A sentence about how sure the boxes are."""
        if self.faces >= 2:
            return "Two faces found. Drag a box, or its corners, where it doesn't fit."
        if self.faces == 1:
            return "Only one face found: please put the other box where the second person is."
        return "No faces found, so each person has a half: drag the boxes over the two people."


def find_people(picture: Image.Image) -> FoundPeople:
    """Boxes of two people: around the two largest faces, or halves of the picture for those not found."""
    width, height = picture.size
    faces = sorted(find_faces(picture)[:2])
    boxes = [_person(face, width, height) for face in faces]
    if len(boxes) == 2:
        middle = (faces[0][2] + faces[1][0]) // 2
        middle = min(max(middle, faces[0][0] + 2), faces[1][2] - 2)
        left, right = boxes
        # two people side by side don't share pixels: each belongs to one of them
        boxes = [(left[0], left[1], min(left[2], middle), left[3]), (max(right[0], middle), *right[1:])]
    elif len(boxes) == 1:
        is_left = faces[0][0] + faces[0][2] <= width
        left, right = _halves(width, height)
        boxes = [boxes[0], right] if is_left else [left, boxes[0]]
    else:
        boxes = _halves(width, height)
    return FoundPeople({"person1": boxes[0], "person2": boxes[1]}, len(faces))


def find_faces(picture: Image.Image) -> list[Box]:
    """Faces in a picture, the largest first."""
    grey = picture.convert("L")
    found: list[Box] = []
    with _one_at_a_time:
        for side, blur in LOOKS:
            found += _look(grey, side, blur)
    return _apart(sorted(found, key=lambda face: face[0] - face[2]))


def _look(grey: Image.Image, side: int, blur: float) -> list[Box]:
    """Faces in a copy of a picture."""
    import cv2
    import numpy as np

    scale = side / max(grey.size)
    small = grey.resize([max(1, round(length * scale)) for length in grey.size])
    pixels = np.asarray(small.filter(ImageFilter.GaussianBlur(blur)) if blur else small)
    smallest = max(20, int(SMALLEST * min(small.size)))
    faces = _cascade().detectMultiScale(
        cv2.equalizeHist(pixels), scaleFactor=1.08, minNeighbors=3, minSize=(smallest, smallest)
    )
    found = []
    for x, y, wide, tall in faces:
        x0, y0, x1, y1 = (int(corner / scale) for corner in (x, y, x + wide, y + tall))
        found.append((x0, y0, min(x1, grey.width), min(y1, grey.height)))
    return found


@cache
def _cascade() -> Any:
    import cv2

    return cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)  # type: ignore[attr-defined]


def _apart(faces: list[Box]) -> list[Box]:
    """Without those that lie on a larger one."""
    kept: list[Box] = []
    for x0, y0, x1, y1 in faces:
        middle = ((x0 + x1) / 2, (y0 + y1) / 2)
        if not any(a <= middle[0] <= c and b <= middle[1] <= d for a, b, c, d in kept):
            kept.append((x0, y0, x1, y1))
    return kept


def _person(face: Box, width: int, height: int) -> Box:
    """Head and shoulders of a face."""
    x0, y0, x1, y1 = face
    side, tall = x1 - x0, y1 - y0
    return (
        max(0, x0 - side // 4),
        max(0, y0 - int(0.35 * tall)),
        min(width, x1 + side // 4),
        min(height, y1 + int(0.6 * tall)),
    )


def _halves(width: int, height: int) -> list[Box]:
    """What the model takes for people that have no box."""
    from ..conditioning.people import half_boxes  # brings torch

    return [(int(x0), int(y0), int(x1), int(y1)) for x0, y0, x1, y1 in half_boxes(height, width).values()]
