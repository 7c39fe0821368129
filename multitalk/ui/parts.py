"""Components that Gradio does not provide, and small helpers for those it does."""

from __future__ import annotations

import re
from functools import cache
from html import escape, unescape
from pathlib import Path
from typing import Any

import gradio as gr

from ..patches.gradio import no_stub_files
from .uploads import MAX_FILE

ASSETS = Path(__file__).parent / "assets"
# Arguments of an event that answers at once and shows no progress. Without `show_progress_on`, Gradio updates
# all outputs that such events have had at each later event of the page.
QUIET: dict[str, Any] = {
    "queue": False,
    "show_progress": "hidden",
    "show_progress_on": [],
    "api_visibility": "private",
}
# The same for an event that starts again although its last answer is missing: the page's script answers.js
# keeps the values of the latest one.
EVERY: dict[str, Any] = {**QUIET, "trigger_mode": "multiple"}


@cache
def asset(name: str) -> str:
    """Return a file of ``assets/`` as text."""
    return (ASSETS / name).read_text(encoding="utf-8")


with no_stub_files():

    class Picture(gr.Image):
        """An image whose value is the uploaded file, so that the request's check reports errors."""

        is_template = True

        def preprocess(self, payload: Any) -> str | None:
            """Return the file's path, without opening it."""
            return None if payload is None else payload.path

    class AnyFile(gr.File):
        """A file of any kind, so that the request's check reports errors."""

        is_template = True

        def preprocess(self, payload: Any) -> str | None:
            """Return the file's path, without opening it."""
            return None if payload is None else payload.path

    class Choice(gr.Radio):
        """A radio whose choices change while the page is open; the request checks the value."""

        is_template = True

        def preprocess(self, payload: Any) -> Any:
            """Return the value unchecked."""
            return payload

    class Number(gr.Number):
        """A number; the request checks the value, so that errors name the field."""

        is_template = True

        def preprocess(self, payload: Any) -> Any:
            """Return the value unchecked, not rounded."""
            return payload

    class Slider(gr.Slider):
        """A slider; the request checks the value, so that errors name the field."""

        is_template = True

        def preprocess(self, payload: Any) -> Any:
            """Return the value unchecked."""
            return payload


def fold_when_empty(file: gr.File, group: gr.Accordion, error: gr.HTML) -> None:
    """Fold the group of a file when the file is removed, but not while an error about it is shown.

    Call inside the page.
    """
    file.change(
        lambda path, message: gr.skip() if path or message else gr.update(open=False),
        [file, error],
        group,
        **QUIET,
    )


def scripted(name: str, template: str, **options: Any) -> gr.HTML:
    """Create an element that a script of ``assets/`` fills.

    Args:
        name: Name of the script, and the element's id.
        template: HTML before the script runs.
        options: Further arguments of gr.HTML.
    """
    options = {"container": False, "elem_id": name, "apply_default_css": False, **options}
    return gr.HTML(html_template=template, js_on_load=asset(f"{name}.js"), **options)


def boxes_editor() -> gr.HTML:
    """Create the editor of a box for each speaker; its value is the request's ``boxes``.

    The server sets ``proposal`` (:mod:`multitalk.ui.box_editor`) with the faces in the image and the boxes
    for any number of speakers, and ``speakers``, that number. Boxes that the user has moved are kept while
    the proposal's ``key`` is the same.
    """
    return scripted(
        "boxes",
        '<div class="people"></div>',
        value={},
        proposal={},
        speakers=1,
        visible="hidden",
        picture="",
        picture_size=[1, 1],
        voices={},
    )


def job_panel() -> gr.HTML:
    """Create the panel with the progress and the result of the browser's job."""
    return scripted("job", asset("job.html"), value={})


def make_button() -> gr.HTML:
    """Create the button that generates a video; its value is the server's answer to a press."""
    return scripted("make", asset("make.html"), elem_id="make-bar", value={})


def question() -> gr.HTML:
    """Create the place for a question before a long video; see :mod:`multitalk.ui.long_jobs`."""
    template = """<section class="question" aria-label="Question" hidden>
    <p class="question-text" role="alert"></p><div class="question-choices"></div></section>"""
    return scripted("question", template, value={})


def lora_list() -> gr.HTML:
    """Create the folded list of the video's LoRAs; see :mod:`multitalk.ui.loras` for its value.

    The server sets ``available``: ``[{"name": ..., "note": ...}]``, the LoRAs of the weights folder.
    """
    template = asset("loras.html").replace("MAX_FILE", str(MAX_FILE // 10**6))
    return scripted("loras", template, value=[], available=[])


def gallery_cards() -> gr.HTML:
    """Create the cards of the server's results."""
    return scripted("gallery", asset("gallery.html"), value="")


def example_cards(examples: list[dict[str, str]]) -> gr.HTML:
    """Create the cards of the examples."""
    return scripted("examples", '<div class="examples"></div>', value=examples)


def status_line() -> gr.HTML:
    """Create the line that shows whether the models are loaded."""
    template = """<p class="status" data-state="loading" role="status"><i></i>
    <span class="status-text">Loading models. You can fill in the form meanwhile.</span></p>"""
    return scripted("status", template)


def connection_line() -> gr.HTML:
    """Create the line that is shown while the server does not answer."""
    template = (
        '<p class="connection" role="alert" hidden><span></span> <button type="button">Log in</button></p>'
    )
    return scripted("connection", template)


def heading(number: str, title: str, hint: str = "") -> gr.HTML:
    """Create the heading of a section."""
    mark = f"<b>{number}</b>" if number else ""
    return gr.HTML(f'<h2 class="step">{mark}{title}<small>{hint}</small></h2>', container=False)


def error_place(name: str) -> gr.HTML:
    """Create the place for errors about the fields above."""
    return gr.HTML("", elem_id=f"error-{name}", elem_classes="field-error", container=False)


def plain_message(html: str) -> str:
    """Return the text of a message of this page's server."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def show_error(message: str | None) -> str:
    """Return the content of an error place; None clears it."""
    return f'<p role="alert">{escape(message)}</p>' if message else ""
