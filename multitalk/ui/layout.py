"""The page's components, from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ..request.script import PAIR, PEOPLE
from ..speech.languages import LANGUAGES
from . import demo_notice, parts
from .continuing import build_continuing
from .dubbing import build_dubbing
from .footer import footer
from .marking import CONSENT
from .options import AUTOMATIC, MODES, ONE, SCRIPT_SAMPLE, SOUND, SOURCES
from .video_settings import build_settings

HEADER = """<header class="masthead"><svg viewBox="0 0 40 40" aria-hidden="true"><path class="back"
 d="M14 6h16a6 6 0 0 1 6 6v10a6 6 0 0 1-6 6v5l-6-5H14a6 6 0 0 1-6-6V12a6 6 0 0 1 6-6z"/><path class="front"
 d="M8 13h13a5 5 0 0 1 5 5v7a5 5 0 0 1-5 5h-8l-5 5v-5a5 5 0 0 1-5-5v-7a5 5 0 0 1 5-5z"/></svg>
<div><h1>MultiTalk</h1><p>Turn an image and a voice into a talking video.</p></div></header>"""


@dataclass(frozen=True)
class Supported:
    """What the weights support, known before they are loaded, so that nothing changes when they are.

    Attributes:
        dubbing: A model that takes a video.
        fast_decoder: The small decoder.
        voice_separator: The separator of voice and music.
    """

    dubbing: bool = False
    fast_decoder: bool = True
    voice_separator: bool = True


@dataclass
class Layout:
    """The page's components.

    Attributes:
        supported: What the weights support.
        form: Fields that describe a job, by name.
        more: Other components that events read or update, by name.
        errors: Places for errors, by name.
    """

    supported: Supported = field(default_factory=Supported)
    form: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, gr.HTML] = field(default_factory=dict)


def build_layout(examples: list[dict[str, str]], supported: Supported = Supported()) -> Layout:
    """Create the components; call inside ``gr.Blocks``.

    Args:
        examples: The cards of :func:`example_cards`.
        supported: What the weights support.
    """
    layout = Layout(supported)
    parts.connection_line()
    layout.more["drops"] = parts.scripted("drops", parts.asset("drops.html"), value={})
    layout.more["kept_form"], layout.more["kept_job"] = gr.JSON(visible="hidden"), gr.JSON(visible="hidden")
    with gr.Row(elem_id="top"):
        gr.HTML(HEADER, container=False)
        layout.more["status"] = parts.status_line()
    layout.more["weights"] = demo_notice.banner()
    with gr.Row(elem_id="main"):
        with gr.Column(scale=6, min_width=320, elem_id="inputs"):
            _build_picture(layout, examples)
            _build_voices(layout)
            build_settings(layout)
            layout.more["make"] = parts.make_button()
        with gr.Column(scale=5, min_width=320, elem_id="outcome"):
            layout.more["question"] = parts.question()
            layout.more["job"] = parts.job_panel()
            layout.more["restored"] = gr.HTML("", elem_id="restored", container=False)
    with gr.Column(elem_id="results"):
        parts.heading("", "Results", "Each file contains its settings.")
        layout.more["gallery"] = parts.gallery_cards()
        layout.more["restore"] = gr.File(
            label="Origin and settings of a video",
            file_types=[".mp4"],
            elem_id="restore",
            height=130,
        )
        layout.more["restored_file"] = gr.HTML("", elem_id="restored-file", container=False)
    footer()
    # the script that keeps the form finds fields by id
    for name, component in layout.form.items():
        component.elem_id = component.elem_id or f"field-{name.replace('_', '-')}"
    return layout


def _build_picture(layout: Layout, examples: list[dict[str, str]]) -> None:
    parts.heading("1", "Image", f"One or more faces. {CONSENT}")
    layout.form["picture"] = parts.Picture(
        label="Image",
        type="filepath",
        sources=["upload", "webcam", "clipboard"],
        buttons=["download", "fullscreen"],  # Gradio's share button uploads the file to a public host
        elem_id="picture",
        height=160,
        show_label=False,
    )
    layout.form["boxes"] = parts.boxes_editor()
    layout.errors["picture"] = parts.error_place("picture")
    layout.more["picture_notice"] = demo_notice.picture_line()
    with gr.Row(elem_id="videos"):
        build_dubbing(layout)
        build_continuing(layout)
    if examples:
        layout.more["examples"] = parts.example_cards(examples)
    layout.more["size"] = gr.State(None)
    # no gr.State: the page does not report its changes by events that answer at once
    layout.more["restored_boxes"] = gr.JSON(visible="hidden")
    layout.more["speakers"] = gr.Number(1, visible="hidden")


def _build_voices(layout: Layout) -> None:
    parts.heading("2", "Voices", "Audio files or text to speech.")
    layout.form["mode"] = gr.Radio(
        MODES, value=ONE, label="Speakers", elem_id="mode", elem_classes="segments"
    )
    with gr.Group(visible="hidden", elem_classes="plain") as script:
        layout.form["script"] = gr.Textbox(
            label="Dialogue of up to four people: (s1) is person 1, or lines such as Anna: Hello.",
            placeholder=SCRIPT_SAMPLE,
            lines=5,
            elem_id="script",
        )
    layout.more["script_group"] = script
    layout.errors["script"] = parts.error_place("script")
    with gr.Tabs(elem_id="people", selected="person1") as tabs:
        for person in PEOPLE:
            with gr.Tab(f"Person {person[-1]}", id=person, visible=person == "person1") as tab:
                if person in PAIR:
                    _build_source(layout, person)
                _build_voice(layout, person)
            layout.more[f"{person}_tab"] = tab
    layout.more["tabs"] = tabs
    for person in PAIR:  # below the tabs, so that errors are visible in both
        layout.errors[person] = parts.error_place(person)
    layout.more["person2_error"] = layout.errors["person2"]
    with gr.Row(elem_id="hear-row"):
        layout.more["hear"] = gr.Button("Preview speech", size="sm", visible="hidden", elem_id="hear")
    layout.more["heard"] = gr.Audio(
        label="Speech preview",
        visible="hidden",
        interactive=False,
        autoplay=True,
        buttons=["download"],
        elem_id="heard",
    )


def _build_source(layout: Layout, person: str) -> None:
    label = f"Person {person[-1]}"
    layout.form[f"{person}_source"] = gr.Radio(
        SOURCES, value=SOUND, show_label=False, label=f"{label}: source", elem_classes="segments small"
    )
    with gr.Group(elem_classes="plain") as sound:
        layout.form[f"{person}_sound"] = gr.Audio(
            label=f"{label}: audio",
            type="filepath",
            sources=["upload", "microphone"],
            buttons=["download"],
            elem_id=f"{person}-sound",
        )
        layout.more[f"{person}_track"] = gr.UploadButton(
            "Use the audio of a video", file_types=["video"], size="sm", elem_id=f"{person}-track"
        )
    with gr.Group(visible="hidden", elem_classes="plain") as words:
        layout.form[f"{person}_text"] = gr.Textbox(
            label=f"{label}: text",
            placeholder="Good morning! It is a lovely day.",
            lines=3,
            elem_id=f"{person}-text",
        )
    layout.more |= {f"{person}_sound_group": sound, f"{person}_words": words}


def _build_voice(layout: Layout, person: str) -> None:
    label = f"Person {person[-1]}"
    # the tab of a third or fourth person has nothing else
    visible = "hidden" if person in PAIR else True
    with gr.Group(visible=visible, elem_classes="plain") as voice, gr.Row():
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
    layout.more[f"{person}_voice_row"] = voice
