"""Restoring the form from a finished video gives the same job."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from multitalk.conditioning.metadata import make_metadata
from multitalk.media.video import VideoWriter
from multitalk.request.generation_request import GenerationRequest
from multitalk.request.model_kinds import MODELS
from multitalk.request.parts import Speech
from multitalk.request.presets import PRESETS, settings_for
from multitalk.speech.speak import speak
from multitalk.ui import fields
from multitalk.ui.estimates import Estimator
from multitalk.ui.file_origin import NO_SETTINGS, FileFacts
from multitalk.ui.file_settings import parse_settings
from multitalk.ui.gallery import Gallery
from multitalk.ui.parts import plain_message
from multitalk.ui.restore import RESTORED, restored_values
from multitalk.ui.result import read_result
from multitalk.ui.worker import ModelWorker
from tests.ui.app import EXAMPLES
from tests.ui.requests import no_lora

EMPTY: dict[str, Any] = {
    **{"picture": str(EXAMPLES / "two_people.png"), "mode": "one", "script": "", "boxes": {}},
    **{f"person{n}_{name}": None for n in (1, 2, 3, 4) for name in ("text", "voice", "language")},
    **{"person1_source": "sound", "person2_source": "sound", "speed": 1.0, "pause": 0.3},
    **{"person1_sound": str(EXAMPLES / "left.wav"), "person2_sound": str(EXAMPLES / "right.wav")},
}
HELLO = {"person1_source": "text", "person1_text": "Hello there", "person1_language": "b"}
HI = {"person2_source": "text", "person2_text": "Hi", "person2_language": "de"}


@pytest.fixture
def worker(tmp_path) -> ModelWorker:
    """A worker without models."""
    return ModelWorker(None, Gallery(tmp_path, 10**9), Estimator(tmp_path / "runs.json"))


def saved_settings(request: GenerationRequest, text: bool = True, scripts: Any = None) -> dict[str, Any]:
    """Return the settings in a video's file."""
    settings = settings_for(PRESETS["demo"], "480p")
    return json.loads(
        make_metadata(request, PRESETS["demo"], MODELS["multitalk"], settings, 42, 1, text, scripts)[
            "comment"
        ]
    )


def from_file(settings: dict[str, Any], worker: ModelWorker, *files: Any) -> list[Any]:
    """Return what is restored from a file with these settings."""
    return restored_values(FileFacts("a.mp4", settings), worker, *files)


@pytest.mark.parametrize(
    "form",
    [
        {},
        HELLO,
        {"mode": "together"},
        {"mode": "together"} | HELLO,
        {"mode": "together"} | HI,
        {"mode": "together", "speed": 1.5} | HELLO | HI,
        {"mode": "in_order"},
        {"mode": "in_order"} | HELLO,
        {"mode": "in_order"} | HI,
        {"mode": "in_order", "pause": 1.0} | HELLO | HI,
        {"mode": "script", "script": "(s1) Hello.\n(s2) Hi! (s1) Well?"},
        {"mode": "script", "script": "(s2) Hi! (s1) Hello."},
        {"mode": "script", "script": "(s1) Hello. (s4) Bye. (s3) Hi! (s2) Well?", "person3_language": "de"},
        {"boxes": {"person1": [10, 20, 60, 90]}},
    ],
)
def test_restored_fields_give_the_same_job(worker, form):
    form = EMPTY | form
    first = fields.request_from_form(form, speak, no_lora)
    values = from_file(saved_settings(first, scripts=fields.separate_scripts(form)), worker)
    skipped = {
        name: value for name, value in zip(RESTORED, values, strict=False) if not isinstance(value, dict)
    }
    again = EMPTY | skipped | {"boxes": form["boxes"]}
    assert again["mode"] == form["mode"]
    for name in ("person1_source", "person2_source", "person1_text", "person2_text"):
        speaks = form["mode"] != "script" and (form["mode"] != "one" or "person1" in name)
        if speaks and (form[f"{name[:7]}_source"] == "text" or "source" in name):
            assert again[name] == form[name]
    second = fields.request_from_form(again, speak, no_lora)
    assert (second.spoken, second.people, second.turns) == (first.spoken, first.people, first.turns)
    assert (second.speech is None) == (first.speech is None)
    if first.speech is not None:
        assert (second.speech.text, second.speech.speed) == (first.speech.text, first.speech.speed)
        for person in first.spoken:
            assert second.speech.language_of(person) == first.speech.language_of(person)
    assert (second.audio or {}).keys() == (first.audio or {}).keys()
    for person, sound in (first.audio or {}).items():
        assert np.array_equal(second.audio[person].samples, sound.samples), "the audio is the same"


@pytest.mark.parametrize(("label", "value"), [("Automatic", "auto"), ("Always", True), ("Never", False)])
def test_the_isolation_of_the_voice_is_restored(worker, label, value):
    request = fields.request_from_form(EMPTY | {"isolate_voice": label}, speak, no_lora)
    assert request.isolate_voice is value
    values = dict(zip(RESTORED, from_file(saved_settings(request), worker), strict=False))
    assert values["isolate_voice"] == label


@pytest.mark.parametrize("before", [True, False])
def test_the_label_is_restored(worker, before):
    form = EMPTY | {"label": True, "label_text": "Créé par IA", "label_corner": "top-left"}
    other = {"label": not before, "label_text": "Old", "label_corner": "bottom-left"}
    for used in (form, EMPTY):
        first = fields.request_from_form(used, speak, no_lora)
        values = from_file(saved_settings(first), worker)
        restored = {
            name: value for name, value in zip(RESTORED, values, strict=False) if not isinstance(value, dict)
        }
        assert fields.request_from_form(EMPTY | other | restored, speak, no_lora).label == first.label
    settings = saved_settings(first)
    del settings["label"]
    assert "label" not in parse_settings(settings), "an older file"


def test_a_file_without_text_names_the_people_with_text(worker):
    request = fields.request_from_form(EMPTY | {"mode": "in_order"} | HI, speak, no_lora)
    values = dict(zip(RESTORED, from_file(saved_settings(request, text=False), worker), strict=False))
    chosen = [values[name] for name in ("mode", "person1_source", "person2_source")]
    assert chosen == ["in_order", "sound", "text"]


@pytest.mark.parametrize("letter", ["x", "好", "é", '"'])
def test_long_texts_are_restored_whole(tmp_path, worker, letter):
    text = letter * 9_990 + " the end"
    request = GenerationRequest(
        image=Image.new("RGB", (64, 64)), speech=Speech(text=text), prompt=text, negative_prompt=text
    )
    settings = settings_for(PRESETS["demo"], "480p")
    metadata = make_metadata(
        request, PRESETS["demo"], MODELS["multitalk"], settings, 42, 1, include_text=True
    )
    with VideoWriter(tmp_path / "v.mp4", 64, 64, metadata=metadata) as writer:
        writer.write(np.zeros((2, 64, 64, 3), np.uint8))
    restored = from_file(read_result(tmp_path / "v.mp4").settings, worker)
    values = dict(zip(RESTORED, restored, strict=False))
    assert values["prompt"] == values["negative_prompt"] == values["person1_text"] == text


def test_text_is_saved_only_if_enabled():
    request = GenerationRequest(
        image=Image.new("RGB", (64, 64)), speech=Speech(text="A secret"), prompt="A spy"
    )
    scripts = {"person1": Speech(text="A whisper")}
    for text in (False, True):
        comment = saved_settings(request, text, scripts=scripts)
        texts = [part in json.dumps(comment) for part in ("secret", "spy", "whisper")]
        assert texts == [text] * 3
        assert {
            "seed": 42,
            "steps": 6,
            "people": 1,
            "size": "160p",
            "spoken": ["person1"],
        }.items() <= comment.items()


def test_invalid_settings_in_a_file_are_dropped():
    settings = {"seed": 5, "steps": "many", "shift": 1e9, "preset": "evil", "size": [64, 96], "people": 2}
    settings |= {
        "speech": {"text": "", "voices": 3},
        "apg": "yes",
        "prompt": "Hi",
        "turns": "in_order",
        "x": 1,
    }
    assert parse_settings(settings) == {
        **{"seed": 5, "size": (64, 96), "people": 2, "prompt": "Hi", "turns": "in_order"},
    }


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        [[]],
        {"name": []},
        {"text": []},
        "\ud800",
        "x" * 20_000,
        10**400,
        -1,
        1e308,
        True,
        None,
        ["person2"],
    ],
)
def test_any_value_in_a_file_is_handled(worker, value):
    names = [
        *RESTORED,
        "speech",
        "said",
        "speaking",
        "spoken",
        "turns",
        "people",
        "image_size",
        "boxes",
        "lora",
    ]
    for settings in (dict.fromkeys(names, value), *({name: value} for name in names)):
        parse_settings(settings)
        *_, sentence = from_file(settings | {"seed": 3}, worker)
        assert "settings restored" in sentence
    for person in ("person1", "person2", "person3"):
        parse_settings({"said": {person: value}, "speech": {"text": "Hi", "voices": value}})


def test_boxes_are_restored_with_the_size_of_their_image(worker):
    boxes = {"person1": [10, 20, 60, 90], "person2": [100, 20, 160, 90]}
    with Image.open(EXAMPLES / "two_people.png") as picture:
        size = picture.size
    request = fields.request_from_form(EMPTY | {"mode": "together", "boxes": boxes}, speak, no_lora)
    *_, kept, sentence = from_file(saved_settings(request), worker)
    assert "boxes are restored" in sentence
    assert (kept["boxes"], kept["size"]) == (boxes, size)


@pytest.mark.parametrize("size", [None, [], [64], [64, "64"], [64.0, 64], [16, 16]])
def test_boxes_without_a_valid_image_size_are_dropped(size):
    boxes = {"person1": [10, 20, 60, 60], "person2": [1, 2, 3, 4]}
    assert "boxes" not in parse_settings({"boxes": boxes, "image_size": size})


def test_settings_without_a_field_are_named(worker):
    used = {"seed": 3, "lora": [{"path": "<a>.safetensors"}], "cache": {"name": "magcache", "ratios": [1.0]}}
    *_, sentence = from_file(used, worker)
    assert "Add these LoRAs again: &lt;a&gt;.safetensors (strength 1)." in sentence
    assert "no field for it: options of Skip steps" in sentence
    *_, sentence = from_file({"seed": 3, "cache": {"name": "magcache", "max_skip_steps": 3}}, worker)
    assert "no field" not in sentence


def test_a_preset_is_restored_while_models_load(worker):
    values = dict(zip(RESTORED, from_file({"preset": "lightx2v", "steps": 4}, worker), strict=False))
    assert values["preset"] == "lightx2v"


def test_a_file_without_settings_is_no_error(worker):
    for settings in ({}, {"speech": "hi"}):
        *values, message = from_file(settings, worker)
        assert plain_message(message) == f"a.mp4: {NO_SETTINGS}"
        assert "alert" not in message
        assert all(isinstance(value, dict) for value in values), "the form stays"


@pytest.mark.parametrize(
    ("form", "files", "steps"),
    [
        ({}, (), ["Add the image and the audio of person 1: the file does not contain them."]),
        (
            {"mode": "in_order"},
            ("picture", "person2_sound"),
            [
                "Add the audio of person 1: the file does not contain it.",
                "Image and audio of person 2 in the form: kept from before. Replace them if this video "
                "used another.",
            ],
        ),
        (HELLO, (), ["Add the image: the file does not contain it."]),
    ],
)
def test_the_message_lists_what_is_missing_and_what_is_kept(worker, form, files, steps):
    request = fields.request_from_form(EMPTY | form, speak, no_lora)
    *_, message = from_file(saved_settings(request), worker, files)
    assert re.findall(r"<li>(.*?)</li>", message) == steps
    assert plain_message(message) == " ".join(["a.mp4: settings restored.", *steps])


def test_a_files_model_and_its_settings_are_restored(worker):
    settings = saved_settings(fields.request_from_form(EMPTY, str, no_lora))
    settings |= {"model": "infinitetalk", "color_correction": 0.35, "motion_frames": 9, "dub": "free"}
    *values, _, message = from_file(settings, worker)
    restored = dict(zip(RESTORED, values, strict=True))
    names = ("model", "color_correction", "motion_frames")
    assert [restored[name] for name in names] == ["infinitetalk", "0.35", None]
    assert "no field for it: the video to dub." in plain_message(message)
    assert parse_settings(settings | {"model": "other"}).get("model") is None


@pytest.mark.parametrize(
    ("saved", "scales"),
    [
        (0.5, [0.5, 0.5]),
        ({"person2": 2}, [1.0, 2.0]),
        ({"person4": 2}, [1.0, 1.0, 1.0, 2.0]),
        (7, [1.0, 1.0]),
        ([], [1.0, 1.0]),
        (None, [1.0, 1.0]),
    ],
)
def test_saved_audio_scales_are_restored(worker, saved, scales):
    settings = saved_settings(fields.request_from_form(EMPTY, str, no_lora))
    assert "audio_scale" not in settings, "1 is not saved"
    *values, _, _ = from_file(settings | ({} if saved is None else {"audio_scale": saved}), worker)
    restored = dict(zip(RESTORED, values, strict=True))
    assert [restored[f"person{number}_scale"] for number in range(1, len(scales) + 1)] == scales


def test_a_file_of_four_people_restores_their_boxes_voices_and_scales(worker):
    boxes = {f"person{n}": [90 * n - 90, 0, 90 * n, 200] for n in (1, 2, 3, 4)}
    form = EMPTY | {"mode": "script", "script": "A: a\nB: b\nC: c\nD: d", "boxes": boxes}
    form |= {"person4_voice": "m2", "person3_scale": 0.5}
    request = fields.request_from_form(form, speak, no_lora)
    *values, kept, message = from_file(saved_settings(request), worker)
    restored = dict(zip(RESTORED, values, strict=True))
    assert (restored["mode"], kept["boxes"]) == ("script", boxes)
    assert (restored["person4_voice"], restored["person3_scale"]) == ("m2", 0.5)
    assert "no field" not in message


def test_voices_that_the_form_has_no_field_for_are_named(worker):
    tone = (0.3 * np.sin(np.arange(8000) / 20).astype(np.float32), 16_000)
    request = GenerationRequest(
        image=Image.new("RGB", (64, 64)), audio={f"person{n}": tone for n in (1, 2, 3)}
    )
    *_, message = from_file(saved_settings(request), worker)
    assert "no field for it: the voice of person 3." in plain_message(message)


def test_an_older_file_of_two_people_is_of_two_speakers(worker):
    settings = saved_settings(fields.request_from_form(EMPTY | {"mode": "in_order"}, speak, no_lora))
    del settings["speaking"]
    assert from_file(settings, worker)[RESTORED.index("mode")] == "in_order"


def test_a_file_says_that_it_continues_a_video(worker, tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 64, 64) as writer:
        writer.write(np.zeros((30, 64, 64, 3), np.uint8))
    form = EMPTY | {"picture": "", "continue_from": str(tmp_path / "a.mp4"), "join": True}
    *_, message = from_file(saved_settings(fields.request_from_form(form, str, no_lora)), worker)
    assert "no field for it: the video to continue." in plain_message(message)
