"""Updates of the image field and of the editor of two people's boxes, of which one is visible."""

from __future__ import annotations

from typing import Any

import gradio as gr
from PIL import Image

from . import options
from .examples import small_picture
from .faces import find_people

EDITOR_SIDE = 960
RESTORED_NOTE = "Boxes restored from the video."


def without_picture() -> list[dict[str, Any]]:
    """Return the updates for a missing or invalid image."""
    return [gr.update(visible=True), gr.update(visible="hidden", proposal={}, picture="")]


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
