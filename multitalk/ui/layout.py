"""What is on the page, from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ..request.generation_request import DEFAULT_NEGATIVE_PROMPT, DEFAULT_PROMPT
from ..request.script import PEOPLE
from . import parts
from .options import (
    AUTOMATIC,
    CACHES,
    LANGUAGES,
    MODES,
    NO_CACHE,
    ONE,
    SCRIPT_SAMPLE,
    SIZES,
    SOUND,
    SOURCES,
    preset_choices,
)

HEADER = """<header class="masthead"><svg viewBox="0 0 40 40" aria-hidden="true"><path class="back"
 d="M14 6h16a6 6 0 0 1 6 6v10a6 6 0 0 1-6 6v5l-6-5H14a6 6 0 0 1-6-6V12a6 6 0 0 1 6-6z"/><path class="front"
 d="M8 13h13a5 5 0 0 1 5 5v7a5 5 0 0 1-5 5h-8l-5 5v-5a5 5 0 0 1-5-5v-7a5 5 0 0 1 5-5z"/></svg>
<div><h1>MultiTalk</h1><p>A picture and a voice in, a talking video out.</p></div></header>"""
ERRORS = ("picture", "person1", "person2", "script", "settings")


@dataclass
class Layout:
    """The page's components.

    Attributes:
        form: What describes a job, by name.
        more: Everything else that events read or change, by name.
        errors: Where errors are said, by place.
    """

    form: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, gr.HTML] = field(default_factory=dict)


def build_layout(examples: list[dict[str, str]]) -> Layout:
    """Put everything on the page; called inside ``gr.Blocks``."""
    layout = Layout()
    with gr.Row(elem_id="top"):
        gr.HTML(HEADER, container=False)
        layout.more["status"] = parts.status_line()
    with gr.Row(elem_id="main"):
        with gr.Column(scale=6, min_width=320, elem_id="inputs"):
            _build_picture(layout, examples)
            _build_voices(layout)
            _build_settings(layout)
        with gr.Column(scale=5, min_width=320, elem_id="outcome"):
            layout.more["job"] = parts.job_panel()
    with gr.Column(elem_id="results"):
        parts.heading("", "Made on this server", "The files carry their settings.")
        layout.more["gallery"] = parts.gallery_cards()
        layout.more["restore"] = gr.File(
            label="Drop a video that was made here, anywhere on the page: its settings come back",
            file_types=[".mp4"],
            elem_id="restore",
            height=130,
        )
        layout.more["restored"] = gr.HTML("", elem_id="restored", container=False)
    return layout


def _build_picture(layout: Layout, examples: list[dict[str, str]]) -> None:
    parts.heading("1", "Picture", "One face, or two.")
    layout.form["picture"] = parts.Picture(
        label="Picture",
        type="filepath",
        sources=["upload", "webcam", "clipboard"],
        buttons=["download", "fullscreen"],  # Gradio's own others upload the file to a public place
        elem_id="picture",
        height=300,
        show_label=False,
    )
    layout.form["boxes"] = parts.boxes_editor()
    layout.errors["picture"] = parts.error_place("picture")
    if examples:
        layout.more["examples"] = parts.example_cards(examples)
    layout.more["size"] = gr.State(None)
    layout.more["restored_boxes"] = gr.State(None)


def _build_voices(layout: Layout) -> None:
    parts.heading("2", "Voices", "A sound, or words that are spoken for you.")
    layout.form["mode"] = gr.Radio(
        MODES, value=ONE, label="Who speaks", elem_id="mode", elem_classes="segments"
    )
    with gr.Group(visible="hidden", elem_classes="plain") as script:
        layout.form["script"] = gr.Textbox(
            label="What they say: (s1) is person 1, (s2) is person 2",
            placeholder=SCRIPT_SAMPLE,
            lines=5,
            elem_id="script",
        )
    layout.more["script_group"] = script
    layout.errors["script"] = parts.error_place("script")
    with gr.Tabs(elem_id="people", selected="person1") as tabs:
        for person in PEOPLE:
            with gr.Tab(f"Person {person[-1]}", id=person, visible=person == "person1") as tab:
                _build_person(layout, person)
            layout.more[f"{person}_tab"] = tab
    layout.more["tabs"] = tabs
    for person in PEOPLE:  # below the tabs: what is wrong in one is to be seen from the other
        layout.errors[person] = parts.error_place(person)
    layout.more["person2_error"] = layout.errors["person2"]
    with gr.Row(elem_id="hear-row"):
        layout.more["hear"] = gr.Button("Hear the words", size="sm", visible="hidden", elem_id="hear")
    layout.more["heard"] = gr.Audio(
        label="How it sounds",
        visible="hidden",
        interactive=False,
        autoplay=True,
        buttons=["download"],
        elem_id="heard",
    )


def _build_person(layout: Layout, person: str) -> None:
    label = f"Person {person[-1]}"
    layout.form[f"{person}_source"] = gr.Radio(
        SOURCES, value=SOUND, show_label=False, label=f"{label} has", elem_classes="segments small"
    )
    with gr.Group(elem_classes="plain") as sound:
        layout.form[f"{person}_sound"] = gr.Audio(
            label=f"{label}: sound",
            type="filepath",
            sources=["upload", "microphone"],
            buttons=["download"],
            elem_id=f"{person}-sound",
        )
        layout.more[f"{person}_track"] = gr.UploadButton(
            "Take the sound track of a video", file_types=["video"], size="sm", elem_id=f"{person}-track"
        )
    with gr.Group(visible="hidden", elem_classes="plain") as words:
        layout.form[f"{person}_text"] = gr.Textbox(
            label=f"{label}: words",
            placeholder="Good morning! It is a lovely day.",
            lines=3,
            elem_id=f"{person}-text",
        )
    with gr.Group(visible="hidden", elem_classes="plain") as voice, gr.Row():
        layout.form[f"{person}_voice"] = gr.Dropdown(
            [("Automatic", AUTOMATIC)],
            value=AUTOMATIC,
            label=f"{label}: voice",
            allow_custom_value=True,
            elem_id=f"{person}-voice",
        )
        layout.form[f"{person}_language"] = gr.Dropdown(
            [(LANGUAGES["a"], "a")],
            value="a",
            label=f"{label}: language",
            allow_custom_value=True,
            elem_id=f"{person}-language",
        )
    layout.more |= {f"{person}_sound_group": sound, f"{person}_words": words, f"{person}_voice_row": voice}


def _build_settings(layout: Layout) -> None:
    parts.heading("3", "Video")
    layout.form["preset"] = parts.Choice(
        preset_choices([], {}), value=AUTOMATIC, label="Quality and time", elem_id="preset"
    )
    layout.form["size"] = gr.Dropdown(SIZES, value=AUTOMATIC, label="Resolution", elem_id="size")
    with gr.Group(visible="hidden", elem_classes="plain") as own_size, gr.Row():
        for side in ("height", "width"):
            layout.form[side] = gr.Number(
                480, label=f"{side.capitalize()}, a multiple of 16", precision=0, elem_id=f"own-{side}"
            )
    layout.more["own_size"] = own_size
    with gr.Accordion("More settings", open=False, elem_id="more"):
        _build_more(layout)
    layout.errors["settings"] = parts.error_place("settings")
    layout.more["make"] = gr.Button("Make the video", variant="primary", size="lg", elem_id="make")


def _build_more(layout: Layout) -> None:
    form = layout.form
    form["prompt"] = gr.Textbox(DEFAULT_PROMPT, label="What the video shows", lines=2, elem_id="prompt")
    with gr.Row(equal_height=True):
        form["seed"] = gr.Number(
            42, label="Seed", precision=0, info="The same seed gives the same video.", elem_id="seed"
        )
        layout.more["dice"] = gr.Button("Another seed", size="sm", elem_id="dice")
    with gr.Row():
        form["steps"] = gr.Number(None, label="Steps", precision=0, info="More take longer.")
        form["shift"] = gr.Number(None, label="Shift", info="Of the time steps.")
        form["text_guidance"] = gr.Number(None, label="Text guidance", info="1 is off.")
        form["audio_guidance"] = gr.Number(None, label="Voice guidance", info="1 is off.")
    layout.more["proposed"] = gr.JSON(visible="hidden")
    with gr.Row():
        form["max_seconds"] = gr.Number(0, label="Longest video in seconds", info="0: all of the sound.")
        form["frames_per_clip"] = gr.Number(
            81, label="Frames per clip", precision=0, info="A multiple of 4, plus 1."
        )
        form["motion_frames"] = gr.Number(25, label="Frames that clips share", precision=0)
    with gr.Row():
        form["teacache"] = gr.Number(0, label="TeaCache", info="Skips steps: 0.2 is cautious, 0 off.")
        form["cache"] = gr.Dropdown(
            CACHES, value=NO_CACHE, label="Another cache", info="Instead of TeaCache.", elem_id="cache"
        )
        form["color_correction"] = gr.Slider(0, 1, 0, step=0.05, label="Keep the picture's colours")
        form["apg"] = gr.Checkbox(False, label="Softer guidance (APG)")
    with gr.Group(visible="hidden", elem_classes="plain") as speech, gr.Row():
        form["speed"] = gr.Slider(0.5, 2, 1, step=0.05, label="Speed of the words")
        form["pause"] = gr.Slider(0, 3, 0.3, step=0.1, label="Pause between turns, in seconds")
    layout.more["speech_row"] = speech
    form["negative_prompt"] = gr.Textbox(
        DEFAULT_NEGATIVE_PROMPT, label="What it should not look like", lines=2, elem_id="negative-prompt"
    )
