"""The page as a Gradio app."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..patches.gradio import disable_downloads
from . import parts
from .api import Api
from .backend import Backend
from .events import Events
from .examples import example_cards
from .layout import build_layout
from .theme import make_theme

UPLOAD_SECONDS = 24 * 3600  # uploads are deleted after this time


def build_page(backend: Backend) -> gr.Blocks:
    """Build the page.

    Args:
        backend: Queue, models and results.
    """
    disable_downloads("URLs are not supported. Upload the file.")
    page = gr.Blocks(title="MultiTalk", analytics_enabled=False, delete_cache=(3600, UPLOAD_SECONDS))
    with page:
        layout = build_layout(example_cards())
        Events(layout, backend).connect(page)
        Api(backend).register()
    return page


def launch_options() -> dict[str, Any]:
    """Return the arguments of ``launch`` that set the page's appearance."""
    return {
        "theme": make_theme(),
        "css": parts.asset("page.css"),
        "js": parts.asset("page.js"),
        "footer_links": ["api", "settings"],
        "run_history": False,
        "ssr_mode": False,
    }
