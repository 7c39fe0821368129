"""A video to dub, in place of the image; shown if the weights contain a model that takes one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ..errors import MultiTalkError
from ..media.source_video import read_video
from . import parts
from .backend import Backend
from .examples import VIDEO, VIDEO_VOICE
from .form_errors import page_message
from .options import DUBS, LABELS, LENGTHS, ONE, SOUND
from .parts import EVERY, QUIET
from .uploads import MAX_FILE

if TYPE_CHECKING:
    from .layout import Layout


def build_dubbing(layout: Layout) -> None:
    """Create the folded group; call inside the image's section.

    Args:
        layout: Where its components are added.
    """
    visible = True if layout.supported.dubbing else "hidden"
    with gr.Accordion("Dub a video instead", open=False, visible=visible, elem_id="dubbing") as group:
        layout.form["video"] = parts.AnyFile(
            label=f"Video to dub, at most {MAX_FILE // 10**6} MB", elem_id="video", height=110
        )
        if VIDEO.is_file() and VIDEO_VOICE.is_file():
            layout.more["video_example"] = gr.Button(
                "Use the example video", size="sm", elem_id="video-example"
            )
        layout.form["dub"] = gr.Radio(DUBS, value="free", label=LABELS["dub"], elem_id="dub")
        layout.form["length"] = gr.Radio(LENGTHS, value="audio", label=LABELS["length"], elem_id="length")
        layout.form["source_volume"] = parts.Slider(
            0,
            1,
            0,
            step=0.05,
            label=LABELS["source_volume"],
            info="Keeps the sound of the video under the voices; 0 is off.",
            elem_id="source-volume",
        )
        layout.form["scenes"] = gr.Checkbox(
            False,
            label=LABELS["scenes"],
            info="For a video with cuts: no clip mixes two scenes. Every cut adds a clip to the run time.",
            elem_id="scenes",
        )
    layout.more["dubbing"] = group


class DubbingEvents:
    """The handlers.

    Args:
        layout: The components.
        backend: Access to the uploaded files, and the models.
    """

    def __init__(self, layout: Layout, backend: Backend) -> None:
        self.layout, self.backend = layout, backend

    def connect(self) -> None:
        """Register the handlers; call inside the page."""
        form, more = self.layout.form, self.layout.more
        taken = [form["video"], form["picture"], self.layout.errors["picture"]]
        form["video"].upload(self.take, form["video"], taken, **QUIET)
        if "video_example" in more:
            filled = [*taken, form["mode"], form["person1_source"], form["person1_sound"]]
            more["video_example"].click(self.use_example, None, filled, **EVERY)
        form["picture"].input(lambda: None, None, form["video"], **QUIET)  # another image replaces the video
        more["status"].change(self.show, None, more["dubbing"], **QUIET)
        parts.fold_when_empty(form["video"], more["dubbing"], self.layout.errors["picture"])

    def show(self) -> Any:
        """Show the group if the loaded weights can dub."""
        return gr.update(visible=True if self.backend.worker.can_dub() else "hidden")

    def use_example(self, request: gr.Request) -> list[Any]:
        """Fill in the example video, and a voice that is not its own."""
        video, voice = (self.backend.share(path, request) for path in (VIDEO, VIDEO_VOICE))
        _, *shown = self.take(video, request)
        return [video, *shown, ONE, SOUND, voice]

    def take(self, path: str, request: gr.Request) -> list[Any]:
        """Check a video, and show its first frame as the image."""
        try:
            picture = save_first_frame(self.backend, path, request)
        except MultiTalkError as error:
            return [None, gr.skip(), parts.show_error(page_message(error, {"video": path}))]
        return [gr.skip(), picture, ""]


def check_can_dub(backend: Backend) -> None:
    """Check that the loaded weights can dub a video.

    Raises:
        MultiTalkError: They cannot, or are still being loaded.
    """
    if backend.worker.can_dub():
        return
    if not backend.worker.loaded.is_set():
        raise MultiTalkError("Video: the models are loading. Drop the video again when the page is ready.")
    raise MultiTalkError(
        "Video: these weights cannot dub a video, because they lack InfiniteTalk. Use an image."
    )


def save_first_frame(backend: Backend, path: str, request: gr.Request) -> str:
    """Check a video, and save its first frame as an image file for the browser that sent a request.

    Raises:
        InvalidInput: The file belongs to another browser, or is no video that can be read.
    """
    backend.check_access([path], request)
    return backend.save_picture(read_video(path).picture, f"{Path(path).stem}.png", request)
