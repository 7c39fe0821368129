"""The page's own building blocks: what Gradio has no component for, and small helpers around those it has."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import component_meta

ASSETS = Path(__file__).parent / "assets"


@cache
def asset(name: str) -> str:
    """A file of the page's, as text."""
    return (ASSETS / name).read_text(encoding="utf-8")


# Gradio writes a stub file beside every file with component classes, which is for their developers
_write_stub = component_meta.create_or_modify_pyi
component_meta.create_or_modify_pyi = lambda *_: None


class Picture(gr.Image):
    """A picture as its file: what is wrong with it is said beside it, by the request's own check."""

    is_template = True

    def preprocess(self, payload: Any) -> str | None:
        """The file's path, unopened."""
        return None if payload is None else payload.path


class Choice(gr.Radio):
    """Choices that change while people choose: what is chosen is checked with the request it goes into."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """The choice as it is."""
        return payload


component_meta.create_or_modify_pyi = _write_stub


def scripted(name: str, template: str, **options: Any) -> gr.HTML:
    """An element that a script of the page's fills and answers for.

    Args:
        name: Of the script, and of the element in the document.
        template: What is there before the script runs.
        options: gr.HTML's.
    """
    options = {"container": False, "elem_id": name, "apply_default_css": False, **options}
    return gr.HTML(html_template=template, js_on_load=asset(f"{name}.js"), **options)


def boxes_editor() -> gr.HTML:
    """The picture with a box for each person; its value is the request's ``boxes``.

    What the server proposes goes into ``found``: ``{"key": ..., "boxes": ...}``, the boxes where there are
    two people. They are taken once for each key.
    """
    return scripted(
        "boxes",
        '<div class="people"></div>',
        value={},
        found={},
        visible="hidden",
        picture="",
        picture_size=[1, 1],
        voices={},
        note="",
    )


def job_panel() -> gr.HTML:
    """A browser's video: how far it is, and the result."""
    return scripted("job", asset("job.html"), value={})


def gallery_cards() -> gr.HTML:
    """The server's results."""
    template = """<div class="cards"></div>
    <p class="no-cards">Nothing here yet. Every video that is made on this server appears here.</p>"""
    return scripted("gallery", template, value=[])


def example_cards(examples: list[dict[str, str]]) -> gr.HTML:
    """Inputs to try."""
    return scripted("examples", '<div class="examples"></div>', value=examples)


def status_line() -> gr.HTML:
    """Whether the models are there."""
    template = """<p class="status" data-state="loading" role="status"><i></i>
    <span class="status-text">The models are still loading. Fill in everything meanwhile.</span></p>"""
    return scripted("status", template)


def heading(number: str, title: str, hint: str = "") -> gr.HTML:
    """A section's title."""
    mark = f"<b>{number}</b>" if number else ""
    return gr.HTML(f'<h2 class="step">{mark}{title}<small>{hint}</small></h2>', container=False)


def error_place(name: str) -> gr.HTML:
    """Where errors about the fields above are said."""
    return gr.HTML("", elem_id=f"error-{name}", elem_classes="field-error", container=False)


def say_error(sentence: str | None) -> str:
    """An error for its place; None empties it."""
    return f'<p role="alert">{escape(sentence)}</p>' if sentence else ""
