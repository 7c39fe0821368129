"""The page's footer: version, documents, API, and logging out."""

from __future__ import annotations

import gradio as gr

from .. import __version__
from ..runtime.environment import read_text
from .docs_route import document_link


def footer() -> gr.HTML:
    """Create the footer; Gradio's own is hidden by the page's styles."""
    links = [
        document_link("README.md", "README"),
        document_link("docs/PAGE.md", "About this page"),
        '<a href="?view=api">API</a>',
        '<a href="logout">Log out</a>' if read_text("UI_USERNAME") else "",
    ]
    items = "".join(f"<li>{item}</li>" for item in (f"MultiTalk {__version__}", *links) if item)
    return gr.HTML(f'<ul class="page-footer">{items}</ul>', elem_id="page-footer", container=False)
