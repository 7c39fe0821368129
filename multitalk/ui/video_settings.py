"""The settings of the video: the usual ones, and the advanced ones in a folded group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import gradio as gr

from ..marks.label import DEFAULT_CORNER, DEFAULT_TEXT
from ..request.generation_request import DEFAULT_NEGATIVE_PROMPT, DEFAULT_PROMPT
from ..request.script import PAIR, PEOPLE
from . import parts
from .loras import lora_choices
from .marking import build_marking
from .options import (
    AUTOMATIC,
    CACHES,
    COLOR_CORRECTIONS,
    DECODERS,
    ISOLATION,
    LABEL_CORNERS,
    LABELS,
    MODEL_CHOICES,
    NO_CACHE,
    SIZES,
    preset_choices,
)
from .parts import QUIET

if TYPE_CHECKING:
    from .backend import Backend
    from .layout import Layout


ISOLATION_HINT = "For songs and noisy audio: lips follow the voice alone, and the video plays all of it."
NO_SEPARATOR = "Always needs the voice separator, which these weights lack."


def build_settings(layout: Layout) -> None:
    """Create the section of the video's settings; call inside the column of inputs.

    Args:
        layout: Where its components are added.
    """
    parts.heading("3", "Video")
    layout.form["preset"] = parts.Choice(
        preset_choices([], {}), value=AUTOMATIC, label=LABELS["preset"], elem_id="preset"
    )
    layout.form["size"] = gr.Dropdown(
        SIZES,
        value=AUTOMATIC,
        label=LABELS["size"],
        info="Higher: sharper, longer run time, more memory.",
        elem_id="size",
    )
    with gr.Group(visible="hidden", elem_classes="plain") as custom_size, gr.Row():
        for side in ("height", "width"):
            layout.form[side] = parts.Number(
                480, label=f"{side.capitalize()} (multiple of 16)", precision=0, elem_id=f"custom-{side}"
            )
    layout.more["custom_size"] = custom_size
    layout.form["loras"] = parts.lora_list()
    layout.errors["loras"] = parts.error_place("loras")
    with gr.Accordion("Advanced settings", open=False, elem_id="more"):
        _build_more(layout)
    layout.errors["settings"] = parts.error_place("settings")


def _build_more(layout: Layout) -> None:
    form = layout.form
    form["prompt"] = gr.Textbox(
        DEFAULT_PROMPT,
        label=LABELS["prompt"],
        info="Describes the scene and how the person talks. It changes at lines with times (0:05).",
        lines=2,
        elem_id="prompt",
    )
    form["model"] = gr.Dropdown(
        MODEL_CHOICES,
        value=AUTOMATIC,
        label=LABELS["model"],
        info="InfiniteTalk keeps colors and faces in long videos. Automatic: it is used above 30 seconds.",
    )
    with gr.Row(equal_height=True):
        _number(layout, "seed", 42, "The same seed gives the same video.", precision=0, elem_id="seed")
        layout.more["dice"] = gr.Button("Random seed", size="sm", elem_id="dice")
    _build_guidance(layout)
    _build_scales(layout)
    layout.more["proposed"] = gr.JSON(visible="hidden")
    _build_clips(layout)
    form["isolate_voice"] = gr.Dropdown(
        list(ISOLATION),
        value="Automatic",
        label=LABELS["isolate_voice"],
        info=ISOLATION_HINT if layout.supported.voice_separator else NO_SEPARATOR,
        elem_id="isolate-voice",
    )
    _build_label(layout)
    _build_decoder(layout)
    with gr.Group(visible="hidden", elem_classes="plain") as speech, gr.Row():
        form["speed"] = parts.Slider(0.5, 2, 1, step=0.05, label="Speech speed", info="1 is normal.")
        form["pause"] = parts.Slider(
            0, 3, 0.3, step=0.1, label="Pause (seconds)", info="Silence between two turns."
        )
    layout.more["speech_row"] = speech
    form["negative_prompt"] = gr.Textbox(
        DEFAULT_NEGATIVE_PROMPT,
        label=LABELS["negative_prompt"],
        info="What the video should not show.",
        lines=2,
        elem_id="negative-prompt",
    )
    build_marking(layout)


def _number(layout: Layout, name: str, value: float | None, info: str, **options: Any) -> None:
    layout.form[name] = parts.Number(value, label=LABELS[name], info=info, min_width=120, **options)


def _build_guidance(layout: Layout) -> None:
    with gr.Row():
        _number(layout, "steps", None, "More: finer detail, longer run time.", precision=0)
        _number(layout, "shift", None, "Higher: more of the steps shape the motion, fewer the detail.")
    with gr.Row():
        _number(layout, "text_guidance", None, "How closely the video follows the prompt; 1 is off.")
        _number(
            layout,
            "audio_guidance",
            None,
            "How strongly lips follow the audio; 1 is off. Lower it if mouths open too wide.",
        )


def _build_scales(layout: Layout) -> None:
    with gr.Row(elem_classes="scales"):
        _build_scale(layout, PAIR[0])
        _build_scale(layout, PAIR[1], visible="hidden")
    with (
        gr.Group(visible="hidden", elem_classes="plain") as layout.more["more_scales"],
        gr.Row(elem_classes="scales"),
    ):
        for person in PEOPLE[len(PAIR) :]:
            _build_scale(layout, person)


def _build_clips(layout: Layout) -> None:
    form = layout.form
    with gr.Row():
        _number(layout, "max_seconds", 0, "Ends the video earlier; 0 is off.")
        _number(
            layout, "frames_per_clip", 81, "Longer clips need more memory; 4n + 1, such as 81.", precision=0
        )
        _number(
            layout, "motion_frames", None, "Frames that a clip repeats; 0: the model's default.", precision=0
        )
    with gr.Row():
        form["cache"] = gr.Dropdown(
            CACHES,
            value=NO_CACHE,
            label=LABELS["cache"],
            info="Faster, with small differences.",
            elem_id="cache",
        )
        _number(
            layout,
            "threshold",
            0,
            "Higher skips more; 0: the default.",
            visible="hidden",
            elem_id="threshold",
        )
    with gr.Row():
        form["color_correction"] = gr.Dropdown(
            COLOR_CORRECTIONS,
            value=AUTOMATIC,
            label=LABELS["color_correction"],
            info="Keeps the colors of the image.",
            allow_custom_value=True,
        )
        form["apg"] = gr.Checkbox(
            False, label=LABELS["apg"], info="Adaptive projected guidance: less oversaturation."
        )


def _build_scale(layout: Layout, person: str, visible: bool | Literal["hidden"] = True) -> None:
    layout.form[f"{person}_scale"] = parts.Slider(
        0,
        2,
        1,
        step=0.05,
        label=f"{LABELS['audio_scale']} of person {person[-1]}",
        info="How strongly the audio moves the person; 1 is normal.",
        visible=visible,
    )


def _build_label(layout: Layout) -> None:
    form = layout.form
    with gr.Row():
        form["label"] = gr.Checkbox(
            False,
            label=LABELS["label"],
            info="Shows in a corner of the video that it was made by AI.",
            elem_id="label",
        )
        form["label_text"] = gr.Textbox(DEFAULT_TEXT, label="Label text", max_lines=1, elem_id="label-text")
        form["label_corner"] = gr.Dropdown(
            LABEL_CORNERS, value=DEFAULT_CORNER, label="Label corner", elem_id="label-corner"
        )


def _build_decoder(layout: Layout) -> None:
    form = layout.form
    visible = True if layout.supported.fast_decoder else "hidden"
    # Gradio shows a hidden row: the group around it is hidden
    with gr.Group(visible=visible, elem_classes="plain") as layout.more["decoder_row"], gr.Row():
        form["vae"] = gr.Dropdown(
            DECODERS, value="full", label=LABELS["vae"], info="Makes the frames.", elem_id="vae"
        )
        form["preview"] = gr.Checkbox(
            False,
            label=LABELS["preview"],
            info="Shows a rough picture of each clip after some of its steps.",
            elem_id="preview",
        )


class SettingsEvents:
    """The handlers that show which settings the loaded weights support.

    Args:
        layout: The components.
        backend: The models.
    """

    def __init__(self, layout: Layout, backend: Backend) -> None:
        self.layout, self.backend = layout, backend

    def connect(self) -> None:
        """Register the handlers; call inside the page."""
        form, more = self.layout.form, self.layout.more
        changes = [more["status"].change, form["vae"].change, form["preview"].change]
        gr.on(changes, self.show_decoder, [form["vae"], form["preview"]], more["decoder_row"], **QUIET)
        more["status"].change(self.show_loras, None, form["loras"], **QUIET)

    def show_decoder(self, vae: str, preview: bool) -> Any:
        """Show the fields of the small decoder if it is there, or if they must be changed."""
        is_shown = self.backend.worker.has_fast_decoder() or vae != "full" or preview
        return gr.update(visible=True if is_shown else "hidden")

    def show_loras(self) -> Any:
        """Show the LoRAs of the weights folder."""
        worker = self.backend.worker
        return gr.update(available=lora_choices(worker.lora_names(), worker.presets()))
