"""What the page says about consent, and the choice of marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from ..marks.settings import OFF, REQUIRED, read_policy
from .options import LABELS

if TYPE_CHECKING:
    from .layout import Layout

CONSENT = "Only use faces and voices that you have permission for."
INFO = "Signed Content Credentials and an invisible watermark."


def build_marking(layout: Layout) -> None:
    """Create the choice, or the line that says that there is none; call inside the settings.

    Args:
        layout: Where the choice is added.
    """
    policy = read_policy()
    if policy == REQUIRED:  # no field: a browser may have kept another value
        text = f"{LABELS['mark']}: on. {INFO} This server requires it."
        gr.HTML(f'<p class="marking">{text}</p>', elem_id="mark", container=False)
        return
    layout.form["mark"] = gr.Checkbox(policy != OFF, label=LABELS["mark"], info=INFO, elem_id="mark")
