"""What is shown of a picture: itself, or an editor of the two people's boxes in it."""

from __future__ import annotations

from typing import Any

import gradio as gr
from PIL import Image

from . import options
from .examples import small_picture
from .faces import find_people

EDITOR_SIDE = 960
RESTORED_NOTE = "These are the boxes of the video whose settings came back."


def without_picture() -> list[dict[str, Any]]:
    """The updates of picture and editor where there is none, or none that can be used."""
    return [gr.update(visible=True), gr.update(visible="hidden", found={}, picture="")]


def picture_parts(
    path: str, picture: Image.Image, mode: str, restored: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """The updates of picture and editor.

    Args:
        path: The picture's file.
        picture: The same, decoded.
        mode: Who speaks.
        restored: A restored video's boxes (:func:`multitalk.ui.restore.restored_values`): they are
            proposed in a picture of the size that they were in.
    """
    fitting = restored is not None and tuple(restored["size"]) == picture.size
    key = f"{path} {restored['id']}" if restored is not None and fitting else path
    if mode == options.ONE:
        return [gr.update(visible=True), gr.update(visible="hidden", found={"key": key})]
    if restored is not None and fitting:
        boxes, note = restored["boxes"], RESTORED_NOTE
    else:
        people = find_people(picture)
        boxes, note = {person: list(box) for person, box in people.boxes.items()}, people.note
    editor = gr.update(
        found={"key": key, "boxes": boxes},
        visible=True,
        picture=small_picture(picture, EDITOR_SIDE),
        picture_size=list(picture.size),
        note=note,
    )
    return [gr.update(visible="hidden"), editor]
