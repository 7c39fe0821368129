"""What the page says about the embedded demo weights: at the top, at a picture, and beside its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from .docs_route import document_link
from .examples import is_example
from .parts import QUIET
from .worker import ModelWorker

if TYPE_CHECKING:
    from .backend import Backend
    from .layout import Layout

BANNER = f"""<details class="weights"><summary><strong>Demo weights: they animate drawn faces only.</strong>
<span>For photos, install the full weights</span></summary>
<p>The full weights need an NVIDIA GPU with at least 16 GB of memory and 91 GB of disk. On such a machine, run
<code>./download_models.sh --precision int8 --to weights</code> in the project's folder, and start the page
again. {document_link("README.md", "README: Requirements and Weights")}</p></details>"""
AT_PICTURE = (
    "The demo weights animate drawn faces only. A photo gives a poor result: it needs the full weights."
)
AT_RESULT = "Generated with the demo weights, which animate drawn faces only. Photos need the full weights."


def banner() -> gr.HTML:
    """Create the line at the top, which is empty without demo weights."""
    return gr.HTML("", elem_id="weights", container=False)


def picture_line() -> gr.HTML:
    """Create the line below the picture."""
    return gr.HTML("", elem_id="picture-notice", container=False)


def connect(layout: Layout, backend: Backend) -> None:
    """Register the handlers that fill the lines; call inside the page."""
    more, picture = layout.more, layout.form["picture"]

    def show_banner() -> str:
        return BANNER if backend.worker.has_demo_weights else ""

    def show_line(path: str | None, request: gr.Request) -> str:
        line = result_line(backend.worker, path) and AT_PICTURE
        return f'<p class="picture-notice" role="status">{line}</p>' if line else ""

    more["weights"].value = show_banner()  # a line that appears later would move the page
    more["status"].change(show_banner, None, more["weights"], **QUIET)
    gr.on([picture.change, more["status"].change], show_line, picture, more["picture_notice"], **QUIET)


def result_line(worker: ModelWorker, picture: str | None) -> str:
    """Return the line beside the result of a picture; empty for an example, or with other weights."""
    if picture is None or not worker.has_demo_weights or is_example(picture):
        return ""
    return AT_RESULT
