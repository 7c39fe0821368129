"""The page's components, from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ..marks.label import DEFAULT_CORNER, DEFAULT_TEXT
from ..request.generation_request import DEFAULT_NEGATIVE_PROMPT, DEFAULT_PROMPT
from ..request.script import PAIR
from ..speech.languages import LANGUAGES
from . import demo_notice, parts
from .continuing import build_continuing
from .dubbing import build_dubbing
from .footer import footer
from .marking import CONSENT, build_marking
from .options import (
    AUTOMATIC,
    CACHES,
    COLOR_CORRECTIONS,
    DECODERS,
    ISOLATION,
    LABEL_CORNERS,
    LABELS,
    MODEL_CHOICES,
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
<div><h1>MultiTalk</h1><p>Turn an image and a voice into a talking video.</p></div></header>"""


@dataclass
class Layout:
    """The page's components.

    Attributes:
        form: Fields that describe a job, by name.
        more: Other components that events read or update, by name.
        errors: Places for errors, by name.
    """

    form: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, gr.HTML] = field(default_factory=dict)


def build_layout(
    examples: list[dict[str, str]], can_dub: bool = False, has_fast_decoder: bool = True
) -> Layout:
    """Create the components; call inside ``gr.Blocks``.

    Args:
        examples: The cards of :func:`example_cards`.
        can_dub: The weights contain a model that takes a video.
        has_fast_decoder: The weights contain the small decoder.
    """
    layout = Layout()
    parts.connection_line()
    layout.more["drops"] = parts.scripted("drops", parts.asset("drops.html"), value={})
    layout.more["kept_form"], layout.more["kept_job"] = gr.JSON(visible="hidden"), gr.JSON(visible="hidden")
    with gr.Row(elem_id="top"):
        gr.HTML(HEADER, container=False)
        layout.more["status"] = parts.status_line()
    layout.more["weights"] = demo_notice.banner()
    with gr.Row(elem_id="main"):
        with gr.Column(scale=6, min_width=320, elem_id="inputs"):
            _build_picture(layout, examples, can_dub)
            _build_voices(layout)
            _build_settings(layout, has_fast_decoder)
            layout.more["make"] = parts.make_button()
        with gr.Column(scale=5, min_width=320, elem_id="outcome"):
            layout.more["question"] = parts.question()
            layout.more["job"] = parts.job_panel()
            layout.more["restored"] = gr.HTML("", elem_id="restored", container=False)
    with gr.Column(elem_id="results"):
        parts.heading("", "Results", "Each file contains its settings.")
        layout.more["gallery"] = parts.gallery_cards()
        layout.more["restore"] = gr.File(
            label="Drop a video here, or anywhere on the page, to see its origin and restore its settings",
            file_types=[".mp4"],
            elem_id="restore",
            height=130,
        )
        layout.more["restored_file"] = gr.HTML("", elem_id="restored-file", container=False)
    footer()
    for (
        name,
        component,
    ) in layout.form.items():  # the script that keeps the form finds fields by id
        component.elem_id = component.elem_id or f"field-{name.replace('_', '-')}"
    return layout


def _build_picture(layout: Layout, examples: list[dict[str, str]], can_dub: bool) -> None:
    parts.heading("1", "Image", f"One or two faces. {CONSENT}")
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
        build_dubbing(layout, can_dub)
        build_continuing(layout)
    if examples:
        layout.more["examples"] = parts.example_cards(examples)
    layout.more["size"] = gr.State(None)
    layout.more["restored_boxes"] = gr.State(None)


def _build_voices(layout: Layout) -> None:
    parts.heading("2", "Voices", "Audio files or text to speech.")
    layout.form["mode"] = gr.Radio(
        MODES, value=ONE, label="Speakers", elem_id="mode", elem_classes="segments"
    )
    with gr.Group(visible="hidden", elem_classes="plain") as script:
        layout.form["script"] = gr.Textbox(
            label="Dialogue: (s1) is person 1, (s2) is person 2, or lines such as Anna: Hello.",
            placeholder=SCRIPT_SAMPLE,
            lines=5,
            elem_id="script",
        )
    layout.more["script_group"] = script
    layout.errors["script"] = parts.error_place("script")
    with gr.Tabs(elem_id="people", selected="person1") as tabs:
        for person in PAIR:
            with gr.Tab(f"Person {person[-1]}", id=person, visible=person == "person1") as tab:
                _build_person(layout, person)
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


def _build_person(layout: Layout, person: str) -> None:
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


def _build_settings(layout: Layout, has_fast_decoder: bool) -> None:
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
        _build_more(layout, has_fast_decoder)
    layout.errors["settings"] = parts.error_place("settings")


def _build_more(layout: Layout, has_fast_decoder: bool) -> None:
    form = layout.form

    def number(name: str, value: float | None, info: str = "", **options: Any) -> None:
        form[name] = parts.Number(value, label=LABELS[name], info=info or None, min_width=120, **options)

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
        number("seed", 42, "The same seed gives the same video.", precision=0, elem_id="seed")
        layout.more["dice"] = gr.Button("Random seed", size="sm", elem_id="dice")
    with gr.Row():
        number("steps", None, "More: finer detail, longer run time.", precision=0)
        number("shift", None, "Higher: more of the steps shape the motion, fewer the detail.")
    with gr.Row():
        number("text_guidance", None, "How closely the video follows the prompt; 1 is off.")
        number(
            "audio_guidance",
            None,
            "How strongly lips follow the audio; 1 is off. Lower it if mouths open too wide.",
        )
    with gr.Row():
        for person in PAIR:
            form[f"{person}_scale"] = parts.Slider(
                0,
                2,
                1,
                step=0.05,
                label=f"{LABELS['audio_scale']} of person {person[-1]}",
                info="How strongly the audio moves the person; 1 is normal.",
            )
    layout.more["proposed"] = gr.JSON(visible="hidden")
    with gr.Row():
        number("max_seconds", 0, "Ends the video earlier; 0 is off.")
        number("frames_per_clip", 81, "Longer clips need more memory; 4n + 1, such as 81.", precision=0)
        number("motion_frames", None, "Frames that a clip repeats; 0: the model's default.", precision=0)
    with gr.Row():
        form["cache"] = gr.Dropdown(
            CACHES,
            value=NO_CACHE,
            label=LABELS["cache"],
            info="Faster, with small differences.",
            elem_id="cache",
        )
        number("threshold", 0, "Higher skips more; 0: the default.", visible="hidden", elem_id="threshold")
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
    form["isolate_voice"] = gr.Dropdown(
        list(ISOLATION),
        value="Automatic",
        label=LABELS["isolate_voice"],
        info="For songs and noisy audio: lips follow the voice alone, and the video plays all of it.",
        elem_id="isolate-voice",
    )
    _build_label(layout)
    _build_decoder(layout, has_fast_decoder)
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


def _build_decoder(layout: Layout, has_fast_decoder: bool) -> None:
    form = layout.form
    with gr.Row(visible=True if has_fast_decoder else "hidden") as layout.more["decoder_row"]:
        form["vae"] = gr.Dropdown(
            DECODERS, value="full", label=LABELS["vae"], info="Makes the frames.", elem_id="vae"
        )
        form["preview"] = gr.Checkbox(
            False,
            label=LABELS["preview"],
            info="Shows a rough picture of each clip after some of its steps.",
            elem_id="preview",
        )
