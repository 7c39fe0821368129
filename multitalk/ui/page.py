"""The page as a Gradio app."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.themes import Base, Color, sizes

from ..patches.gradio import (
    disable_downloads,
    no_empty_files,
    refuse_incomplete_uploads,
    replace_errors,
    use_page_host,
)
from . import parts
from .api import Api
from .backend import FOREIGN_FILE, Backend
from .events import Events
from .examples import example_cards
from .gradio_words import gradio_words
from .layout import Supported, build_layout
from .uploads import MAX_FILE

UNEXPECTED = "The request failed. Check its arguments; the server log has the details."


def build_page(backend: Backend) -> gr.Blocks:
    """Build the page.

    Args:
        backend: Queue, models and results.
    """
    disable_downloads("URLs are not supported. Upload the file.")
    replace_errors(UNEXPECTED, FOREIGN_FILE)
    no_empty_files()
    refuse_incomplete_uploads()
    use_page_host()
    page = gr.Blocks(title="MultiTalk", analytics_enabled=False)
    with page:
        worker = backend.worker
        supported = Supported(worker.can_dub(), worker.has_fast_decoder(), worker.can_isolate())
        layout = build_layout(example_cards(), supported)
        Events(layout, backend).connect(page)
        Api(backend).register()
    return page


def launch_options() -> dict[str, Any]:
    """Return the arguments of ``launch`` that set the page's appearance."""
    return {
        "theme": make_theme(),
        "css": "".join(parts.asset(name) for name in ("page.css", "panel.css", "keeps.css", "loras.css")),
        "head": "".join(f"<script>{script}</script>" for script in _scripts()),
        "i18n": gradio_words(),
        "footer_links": ["api", "settings"],
        "run_history": False,
        "ssr_mode": False,
    }


def _scripts() -> tuple[str, ...]:
    files = parts.asset("files.js").replace("MAX_FILE", str(MAX_FILE))
    names = ("form_store", "names", "compare", "player", "progress_bar", "face_marks")
    return parts.asset("answers.js"), files, *(parts.asset(f"{name}.js") for name in names)


ACCENT = Color(
    c50="#fff4ef", c100="#ffe5da", c200="#ffcab6", c300="#ffa687", c400="#f97d55", c500="#e8582c",
    c600="#cc421a", c700="#a83415", c800="#882d16", c900="#702815", c950="#3d1108", name="ember",
)  # fmt: skip
PAPER = Color(
    c50="#faf9f7", c100="#f3f1ed", c200="#e6e2dc", c300="#d3cdc4", c400="#a49d93", c500="#7a736a",
    c600="#5b554e", c700="#433f3a", c800="#2a2724", c900="#1d1b19", c950="#141211", name="paper",
)  # fmt: skip
FONTS = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def make_theme() -> Base:
    """Create the theme."""
    theme = Base(
        primary_hue=ACCENT,
        secondary_hue=ACCENT,
        neutral_hue=PAPER,
        radius_size=sizes.radius_lg,
        text_size=sizes.text_md,
        font=FONTS,
        font_mono=MONO,
    )
    return theme.set(
        block_radius="14px",
        input_radius="10px",
        container_radius="14px",
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_title_text_weight="600",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_width="1px",
        input_padding="8px 11px",
        input_border_color_focus="*primary_500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_hover="*neutral_200",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_large_text_weight="600",
    )
