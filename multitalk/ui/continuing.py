"""A video to continue, in place of the image: a result, or any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ..errors import MultiTalkError
from ..media.source_video import read_video
from . import parts
from .backend import Backend
from .fields import each
from .form_errors import page_message
from .options import LABELS
from .parts import EVERY, QUIET
from .uploads import MAX_FILE

if TYPE_CHECKING:
    from .layout import Layout

VOICES = ("script", *each("sound", "text"))
NEXT_PART = '<p role="status">Add the voice of the next part.</p>'
# when there is a voice again; in the browser, since it runs at every letter of a text
HIDE_HINT = f"(hint, ...voices) => hint === {json.dumps(NEXT_PART)} && voices.some(Boolean) ? '' : hint"


def build_continuing(layout: Layout) -> None:
    """Create the folded group; call inside the image's section."""
    with gr.Accordion("Continue a video instead", open=False, elem_id="continuing") as group:
        layout.form["continue_from"] = parts.AnyFile(
            label=f"Video to continue, at most {MAX_FILE // 10**6} MB", elem_id="continue-from", height=110
        )
        layout.form["join"] = gr.Checkbox(
            True,
            label=LABELS["join"],
            info="One file with both parts; otherwise the file contains the new part alone.",
            elem_id="join",
        )
    layout.more["continuing"] = group


class ContinuingEvents:
    """The handlers.

    Args:
        layout: The components.
        backend: The results, and access to the uploaded files.
    """

    def __init__(self, layout: Layout, backend: Backend) -> None:
        self.layout, self.backend = layout, backend

    def connect(self) -> None:
        """Register the handlers; call inside the page."""
        form, more = self.layout.form, self.layout.more
        taken = [form[name] for name in ("continue_from", "picture", "video")]
        taken += [more["continuing"], self.layout.errors["picture"]]
        form["continue_from"].upload(self.take, form["continue_from"], taken, **QUIET)
        place = self.layout.errors["script"]  # above the voices
        voices = [form[name] for name in VOICES]
        more["job"].apply(self.take_result, None, [*taken, *voices, place], **EVERY)
        gr.on([voice.change for voice in voices], None, [place, *voices], place, js=HIDE_HINT, **QUIET)
        for other in (form["picture"].input, form["video"].upload):  # they replace the video
            other(lambda: None, None, form["continue_from"], **QUIET)
        parts.fold_when_empty(form["continue_from"], more["continuing"], self.layout.errors["picture"])

    def take_result(self, event: gr.EventData, request: gr.Request) -> list[Any]:
        """Fill in a result, and remove its voices, which the next part would repeat."""
        result = self.backend.visible(request).result(str(event.name))
        path = None if result is None else self.backend.gallery.path(result.name)
        if path is None:
            return [gr.skip()] * (5 + len(VOICES) + 1)
        taken = self.take(self.backend.share(path, request), request)
        return [*taken, *(None if name.endswith("sound") else "" for name in VOICES), NEXT_PART]

    def take(self, path: str, request: gr.Request) -> list[Any]:
        """Check a video, and show its last frame as the image."""
        try:
            self.backend.check_access([path], request)
            frame = read_video(path, "continue_from").last_picture
        except MultiTalkError as error:
            message = page_message(error, {"continue_from": path})
            return [None, gr.skip(), gr.skip(), gr.skip(), parts.show_error(message)]
        picture = self.backend.save_picture(frame, f"{Path(path).stem}.png", request)
        return [path, picture, None, gr.update(open=True), ""]
