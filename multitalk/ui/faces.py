"""Find people in an image: OpenCV's bundled cascade detects faces; a box contains head and shoulders."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

from PIL import Image, ImageFilter

from ..request.boxes import default_boxes
from ..request.script import PEOPLE

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the image

CASCADE = "haarcascade_frontalface_alt2.xml"
# Longer side and blur of the copies that are searched: the time does not depend on the image's size, blur
# makes drawn faces more like photographed ones, and small faces are detected in the larger copies.
PASSES = ((400, 2.0), (400, 0.0), (800, 1.0), (960, 2.0))
# A cascade is not thread-safe, nor is the first import of cv2.
_lock = threading.Lock()
SMALLEST = 0.06  # of the image's shorter side
# What is found beside a much larger face is rarely a person who speaks, and often no face.
SMALLEST_OF_LARGEST = 1 / 3
MOST_FACES = 8
COUNTS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")


@dataclass(frozen=True)
class FoundPeople:
    """The people whose faces were detected in an image.

    Attributes:
        size: (width, height) of the image.
        faces: Their faces, from left to right.
        boxes: Head and shoulders of each; boxes of neighbors do not overlap.
    """

    size: tuple[int, int]
    faces: tuple[Box, ...]
    boxes: tuple[Box, ...]

    def boxes_of(self, speakers: int) -> dict[str, Box]:
        """Return a box for each speaker, person1 on the left.

        They are the people with the largest faces. Further speakers get a column of the image, as without
        boxes.
        """
        by_size = sorted(range(len(self.faces)), key=lambda index: _side(self.faces[index]), reverse=True)
        seen = sorted(by_size[:speakers])
        boxes = _columns(speakers, *self.size)

        def distance(places: Iterable[int]) -> float:
            middles = (_middle(boxes[place], 0) for place in places)
            return sum(abs(at - _middle(self.faces[face], 0)) for at, face in zip(middles, seen, strict=True))

        nearest = min(combinations(range(speakers), len(seen)), key=distance)
        for place, index in zip(nearest, seen, strict=True):
            boxes[place] = self.boxes[index]
        return dict(zip(PEOPLE[:speakers], boxes, strict=True))

    def note_for(self, speakers: int) -> str:
        """Return a message about the boxes, with what to do next."""
        count = len(self.faces)
        found = f"{COUNTS[count]} {'face' if count == 1 else 'faces'} found."
        if speakers == 1 and count > 1:
            return f"{found} Select the one that speaks. Without a choice, all of them may move."
        if speakers == 1:
            return f"{found} Draw a box if only one person may move."
        if count > speakers:
            return f"{found} Select the face of each speaker, or drag a box or its corners."
        if count == speakers:
            return f"{found} Drag a box or its corners to adjust it."
        if count and speakers == 2:
            return f"{found} Drag the other box over the second person."
        if count:
            return f"{found} Drag the other boxes over the other people."
        return f"{found} Drag the boxes over the {COUNTS[speakers].lower()} people."


def find_people(picture: Image.Image) -> FoundPeople:
    """Find the people in an image by their faces."""
    faces = sorted(find_faces(picture)[:MOST_FACES], key=lambda face: _middle(face, 0))
    return FoundPeople(picture.size, tuple(faces), tuple(_heads(faces, *picture.size)))


def find_faces(picture: Image.Image) -> list[Box]:
    """Return the faces in an image, largest first."""
    grey = picture.convert("L")
    faces: list[Box] = []
    with _lock:
        for side, blur in PASSES:
            faces += _detect(grey, side, blur)
    faces = _distinct(sorted(faces, key=_side, reverse=True))
    return [face for face in faces if _side(face) >= SMALLEST_OF_LARGEST * _side(faces[0])]


def _detect(grey: Image.Image, side: int, blur: float) -> list[Box]:
    """Detect faces in a scaled, blurred copy."""
    import cv2
    import numpy as np

    scale = side / max(grey.size)
    small = grey.resize([max(1, round(length * scale)) for length in grey.size])
    pixels = np.asarray(small.filter(ImageFilter.GaussianBlur(blur)) if blur else small)
    smallest = max(20, int(SMALLEST * min(small.size)))
    detections = _cascade().detectMultiScale(
        cv2.equalizeHist(pixels), scaleFactor=1.08, minNeighbors=3, minSize=(smallest, smallest)
    )
    faces = []
    for x, y, wide, tall in detections:
        x0, y0, x1, y1 = (int(corner / scale) for corner in (x, y, x + wide, y + tall))
        faces.append((x0, y0, min(x1, grey.width), min(y1, grey.height)))
    return faces


@cache
def _cascade() -> Any:
    import cv2

    return cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)  # type: ignore[attr-defined]


def _distinct(faces: list[Box]) -> list[Box]:
    """Drop faces that overlap a larger one."""
    kept: list[Box] = []
    for x0, y0, x1, y1 in faces:
        middle = ((x0 + x1) / 2, (y0 + y1) / 2)
        if not any(a <= middle[0] <= c and b <= middle[1] <= d for a, b, c, d in kept):
            kept.append((x0, y0, x1, y1))
    return kept


def _columns(people: int, width: int, height: int) -> list[Box]:
    """Return the default boxes."""
    boxes = default_boxes(height, width, PEOPLE[:people]).values()
    return [(int(x0), int(y0), int(x1), int(y1)) for x0, y0, x1, y1 in boxes]


def _heads(faces: list[Box], width: int, height: int) -> list[Box]:
    """Return the box of head and shoulders of each face; they end halfway between neighbors."""
    heads = [list(_head(face, width, height)) for face in faces]
    for one, two in combinations(range(len(faces)), 2):
        if not _overlap(heads[one], heads[two]):
            continue
        distances = [_middle(faces[two], axis) - _middle(faces[one], axis) for axis in (0, 1)]
        axis = 0 if abs(distances[0]) >= abs(distances[1]) else 1
        first, last = (one, two) if distances[axis] > 0 else (two, one)
        border = (faces[first][axis + 2] + faces[last][axis]) // 2
        border = min(max(border, int(_middle(faces[first], axis))), int(_middle(faces[last], axis)))
        heads[first][axis + 2] = min(heads[first][axis + 2], border)
        heads[last][axis] = max(heads[last][axis], border)
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in heads]


def _head(face: Box, width: int, height: int) -> Box:
    x0, y0, x1, y1 = face
    side, tall = x1 - x0, y1 - y0
    return (
        max(0, x0 - side // 4),
        max(0, y0 - int(0.35 * tall)),
        min(width, x1 + side // 4),
        min(height, y1 + int(0.6 * tall)),
    )


def _overlap(first: Sequence[int], second: Sequence[int]) -> bool:
    return all(first[axis] < second[axis + 2] and second[axis] < first[axis + 2] for axis in (0, 1))


def _side(face: Box) -> int:
    return face[2] - face[0]


def _middle(box: Sequence[int], axis: int) -> float:
    return (box[axis] + box[axis + 2]) / 2
