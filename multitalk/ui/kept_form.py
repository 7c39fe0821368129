"""Fill the form with the values that the browser has kept from an earlier visit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import gradio as gr

from ..errors import InvalidInput, MultiTalkError
from ..media.picture import read_picture
from ..request.checks import check_boxes
from . import job_store
from .backend import Backend
from .layout import Layout
from .loras import kept_loras
from .parts import QUIET, Choice

FILES = (gr.Image, gr.Audio, gr.File)
START = "() => { window.multitalkForm.start(); }"
KEPT_JOB = "() => [window.multitalkForm.job()]"


class KeptFormEvents:
    """The handlers that keep the form's values in the browser and fill them in again.

    Args:
        layout: The components.
        backend: Access to the uploaded files.
    """

    def __init__(self, layout: Layout, backend: Backend) -> None:
        self.layout, self.backend = layout, backend

    def connect(self, page: gr.Blocks) -> None:
        """Register the handlers; call inside the page."""
        form, more = self.layout.form, self.layout.more
        kept = more["kept_form"]
        # without kept values, the handler of all fields is not called
        page.load(None, None, kept, js=load_script(form), **QUIET)
        outputs = [*form.values(), more["restored_boxes"], more["dubbing"], more["continuing"]]
        filled = kept.change(self.fill, kept, outputs, **QUIET)
        filled.then(None, js=START, **QUIET)
        # one by one: at each event of a handler, Gradio reads all its inputs and all fields that trigger it
        for name, field in form.items():
            field.change(None, field, js=save_script(name), **QUIET)

    def fill(self, kept: Any, request: gr.Request) -> list[Any]:
        """Fill the form with the values that the browser has kept; a video in a folded group is shown."""
        form = self.layout.form
        values = kept_values(form, kept, lambda paths: self.backend.check_access(paths, request))
        videos = [dict(zip(form, values, strict=False))[name] for name in ("video", "continue_from")]
        return [*values, *(gr.update(open=True) if isinstance(video, str) else gr.skip() for video in videos)]


def save_script(name: str) -> str:
    """Return the script that keeps the value of a field in the browser."""
    return f"(value) => {{ window.multitalkForm.save({json.dumps(name)}, value); }}"


def load_script(form: dict[str, Any]) -> str:
    """Return the script that reads the kept values; without any, it starts to keep them."""
    names = {component.elem_id: name for name, component in form.items()}
    # an update without a value leaves the component as it is, and is no change
    return f"async () => [await window.multitalkForm.load({json.dumps(names)}) || {{ __type__: 'update' }}]"


def kept_job(kept: Any) -> str | None:
    """Return the id of a job that the browser has kept, or None."""
    return kept if isinstance(kept, str) and job_store.ID.fullmatch(kept) else None


def kept_values(
    form: dict[str, Any], kept: Any, check_access: Callable[[list[str | None]], None]
) -> list[Any]:
    """Return the values of the form's fields, and the boxes, as in :mod:`multitalk.ui.restore`.

    Args:
        form: The form's components by field.
        kept: The kept values by field, unchecked; files are paths.
        check_access: Raises an InvalidInput for files of other browsers.
    """
    if not isinstance(kept, dict):
        return [gr.skip()] * (len(form) + 1)
    values = []
    for name, component in form.items():
        value = kept.get(name)
        if name == "loras":
            loras = kept_loras(value, lambda path: _own_file(path, check_access) is not None)
            values.append(loras if name in kept else gr.skip())
        elif isinstance(component, FILES):
            values.append(_own_file(value, check_access) or gr.skip())
        else:
            values.append(value if name in kept and is_valid(component, value) else gr.skip())
    return [*values, _boxes(kept, dict(zip(form, values, strict=True)).get("picture"))]


def is_valid(component: Any, value: Any) -> bool:
    """Return whether a component takes a value that the page has kept, maybe of another version."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(component, gr.Slider):
        return is_number and component.minimum <= value <= component.maximum
    if isinstance(component, gr.Number):
        return value is None or is_number
    if isinstance(component, gr.Checkbox):
        return isinstance(value, bool)
    if isinstance(component, gr.Textbox):
        return isinstance(value, str)
    if isinstance(component, (gr.Radio, gr.Dropdown)):
        is_open = isinstance(component, Choice) or getattr(component, "allow_custom_value", False)
        return isinstance(value, str) and (is_open or value in [choice for _, choice in component.choices])
    return False


def _own_file(path: Any, check_access: Callable[[list[str | None]], None]) -> str | None:
    try:
        if isinstance(path, str):
            check_access([path])
            return path
    except InvalidInput:
        pass
    return None


def _boxes(kept: dict[str, Any], picture: Any) -> Any:
    """Return the kept boxes with the size of their image."""
    try:
        if isinstance(picture, str) and kept.get("boxes"):
            size = read_picture(picture).size
            boxes = check_boxes(kept["boxes"], size) or {}
            return {"boxes": {p: list(box) for p, box in boxes.items()}, "size": size, "id": uuid4().hex}
    except MultiTalkError:
        pass
    return gr.skip()
