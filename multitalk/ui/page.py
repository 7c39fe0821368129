"""The page: picture, voices or words, one button, a video."""

from __future__ import annotations

from typing import Any

import gradio as gr

from . import parts
from .access import close_fetching
from .api import Api
from .backend import Backend
from .events import Events
from .examples import example_cards
from .layout import build_layout
from .theme import make_theme

KEPT_SECONDS = 24 * 3600  # uploads of a browser that has gone


def build_page(backend: Backend) -> gr.Blocks:
    """The page as a Gradio app.

    Args:
        backend: What does the work.
    """
    close_fetching()
    page = gr.Blocks(title="MultiTalk", analytics_enabled=False, delete_cache=(3600, KEPT_SECONDS))
    with page:
        layout = build_layout(example_cards())
        Events(layout, backend).connect(page)
        Api(backend).register()
    return page


def launch_options() -> dict[str, Any]:
    """How the page looks, for ``launch``."""
    return {
        "theme": make_theme(),
        "css": parts.asset("page.css"),
        "js": parts.asset("page.js"),
        "footer_links": ["api", "settings"],
        "run_history": False,
        "ssr_mode": False,
    }
