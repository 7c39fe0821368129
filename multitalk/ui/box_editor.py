"""Updates of the editor of the speakers' boxes: the faces in the image, and what it proposes."""

from __future__ import annotations

from typing import Any

import gradio as gr
from PIL import Image

from ..request.script import PEOPLE
from .examples import small_picture
from .faces import FoundPeople, find_people

EDITOR_SIDE = 960
RESTORED_NOTE = "Boxes restored. Drag a box or its corners to adjust it."


def without_picture() -> list[dict[str, Any]]:
    """Return the updates for a missing or invalid image."""
    return [gr.update(visible=True), gr.update(visible="hidden", proposal={}, picture="")]


def picture_parts(
    path: str, picture: Image.Image, speakers: int, restored: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Return the updates of the image and the editor for an image.

    The editor replaces the image if there is something to choose: several speakers, or one of several faces.

    Args:
        path: The image's file.
        picture: The decoded image.
        speakers: Number of people who speak.
        restored: Boxes restored from a video (:func:`multitalk.ui.restore.restored_values`); used if the
            image has the size of that video's image.
    """
    if restored is not None and tuple(restored["size"]) != picture.size:
        restored = None
    people = find_people(picture)
    proposal = {"key": path if restored is None else f"{path} {restored['id']}", **_proposal(people)}
    is_shown = speakers > 1 or len(people.faces) > 1
    if restored is not None:
        proposal |= {"kept": restored["boxes"], "kept_note": RESTORED_NOTE}
        is_shown |= "person1" in restored["boxes"] and restored["boxes"] not in proposal["boxes"]
    editor = gr.update(
        proposal=proposal | {"is_shown": is_shown},
        speakers=speakers,
        visible=True if is_shown else "hidden",
        picture=small_picture(picture, EDITOR_SIDE),
        picture_size=list(picture.size),
    )
    return [gr.update(visible="hidden" if is_shown else True), editor]


def _proposal(people: FoundPeople) -> dict[str, Any]:
    """Return the faces, and by number of speakers the boxes and the note; one speaker is not guessed."""
    numbers = range(1, len(PEOPLE) + 1)
    boxes = [{} if n == 1 else {p: list(box) for p, box in people.boxes_of(n).items()} for n in numbers]
    return {
        "faces": [
            {"face": list(face), "box": list(box)}
            for face, box in zip(people.faces, people.boxes, strict=True)
        ],
        "boxes": boxes,
        "notes": [people.note_for(n) for n in numbers],
    }
