"""Find people in an image: OpenCV's bundled cascade detects faces; a box contains head and shoulders."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import uuid4

import gradio as gr
from PIL import Image, ImageFilter

from ..request.script import PAIR
from . import options
from .examples import small_picture

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the image

CASCADE = "haarcascade_frontalface_alt2.xml"
# Longer side and blur of the copies that are searched: the time does not depend on the image's size, blur
# makes drawn faces more like photographed ones, and small faces are detected in the larger copy.
PASSES = ((400, 2.0), (400, 0.0), (800, 1.0))
# A cascade is not thread-safe, nor is the first import of cv2.
_lock = threading.Lock()
SMALLEST = 0.06  # of the image's shorter side


@dataclass(frozen=True)
class FoundPeople:
    """Detected people.

    Attributes:
        boxes: Boxes by person, person1 on the left.
        faces: Number of detected faces, at most 2.
    """

    boxes: dict[str, Box]
    faces: int

    @property
    def note(self) -> str:
        """A message about the boxes."""
        if self.faces >= 2:
            return "Two faces found. Drag a box or its corners to adjust it."
        if self.faces == 1:
            return "One face found. Drag the other box over the second person."
        return "No faces found. Drag the boxes over the two people."


def find_people(picture: Image.Image) -> FoundPeople:
    """Return boxes of two people: around the two largest faces, or half the image for an undetected one."""
    width, height = picture.size
    faces = sorted(find_faces(picture)[:2])
    boxes = [_person(face, width, height) for face in faces]
    if len(boxes) == 2:
        middle = (faces[0][2] + faces[1][0]) // 2
        middle = min(max(middle, faces[0][0] + 2), faces[1][2] - 2)
        left, right = boxes
        # boxes of people side by side must not overlap
        boxes = [(left[0], left[1], min(left[2], middle), left[3]), (max(right[0], middle), *right[1:])]
    elif len(boxes) == 1:
        is_left = faces[0][0] + faces[0][2] <= width
        left, right = _halves(width, height)
        boxes = [boxes[0], right] if is_left else [left, boxes[0]]
    else:
        boxes = _halves(width, height)
    return FoundPeople({"person1": boxes[0], "person2": boxes[1]}, len(faces))


def find_faces(picture: Image.Image) -> list[Box]:
    """Return the faces in an image, largest first."""
    grey = picture.convert("L")
    faces: list[Box] = []
    with _lock:
        for side, blur in PASSES:
            faces += _detect(grey, side, blur)
    return _distinct(sorted(faces, key=lambda face: face[0] - face[2]))


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


def _person(face: Box, width: int, height: int) -> Box:
    """Return the box of head and shoulders around a face."""
    x0, y0, x1, y1 = face
    side, tall = x1 - x0, y1 - y0
    return (
        max(0, x0 - side // 4),
        max(0, y0 - int(0.35 * tall)),
        min(width, x1 + side // 4),
        min(height, y1 + int(0.6 * tall)),
    )


def _halves(width: int, height: int) -> list[Box]:
    """Return the default boxes."""
    from ..conditioning.people import default_boxes  # imports torch

    boxes = default_boxes(height, width, PAIR).values()
    return [(int(x0), int(y0), int(x1), int(y1)) for x0, y0, x1, y1 in boxes]


EDITOR_SIDE = 960
RESTORED_NOTE = "Boxes restored. Drag a box or its corners to adjust it."


def without_picture() -> list[dict[str, Any]]:
    """Return the updates for a missing or invalid image."""
    return [gr.update(visible=True), gr.update(visible="hidden", proposal={}, picture="")]


def found_again(picture: Image.Image) -> dict[str, Any]:
    """Return the update of the editor with the boxes of the faces in an image, instead of the user's."""
    people = find_people(picture)
    boxes = {person: list(box) for person, box in people.boxes.items()}
    return gr.update(found={"id": uuid4().hex, "boxes": boxes}, note=people.note)


def picture_parts(
    path: str, picture: Image.Image, mode: str, restored: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Return the updates for an image.

    Args:
        path: The image's file.
        picture: The decoded image.
        mode: The form's mode.
        restored: Boxes restored from a video (:func:`multitalk.ui.restore.restored_values`); used if the
            image has the size of that video's image.
    """
    if restored is not None and tuple(restored["size"]) != picture.size:
        restored = None
    key = path if restored is None else f"{path} {restored['id']}"
    if mode == options.ONE:
        return [gr.update(visible=True), gr.update(visible="hidden", proposal={"key": key})]
    if restored is not None:
        boxes, note = restored["boxes"], RESTORED_NOTE
    else:
        people = find_people(picture)
        boxes, note = {person: list(box) for person, box in people.boxes.items()}, people.note
    editor = gr.update(
        proposal={"key": key, "boxes": boxes},
        visible=True,
        picture=small_picture(picture, EDITOR_SIDE),
        picture_size=list(picture.size),
        note=note,
    )
    return [gr.update(visible="hidden"), editor]
