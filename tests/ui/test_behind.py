"""The page's backend, without a browser: estimates, fields, audio."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import soundfile
from starlette.requests import Request

from multitalk.conditioning.timeline import clip_spans
from multitalk.errors import InvalidInput
from multitalk.media.sound import Sound
from multitalk.pipeline.work import JobWork, count_work
from multitalk.request.presets import PRESETS
from multitalk.request.script import read_script
from multitalk.runtime.memory import Workload
from multitalk.runtime.sizes import ModelSizes
from multitalk.ui import fields, form_errors
from multitalk.ui.estimates import Estimator, describe_seconds
from multitalk.ui.events import Events
from multitalk.ui.gallery import Gallery, slug
from multitalk.ui.layout import Supported, build_layout
from multitalk.ui.preset_fields import PRESET_FIELDS, changed_shift, missing_values, preset_values
from multitalk.ui.server import make_backend
from multitalk.ui.worker import ModelWorker
from tests.ui.app import EXAMPLES
from tests.ui.requests import no_lora

FORM: dict[str, Any] = {
    **{"picture": str(EXAMPLES / "one_person.png"), "mode": "one", "script": "", "boxes": {}},
    **{f"person{n}_{name}": None for n in (1, 2) for name in ("sound", "text", "voice", "language")},
    **{"person1_source": "text", "person2_source": "text", "person1_text": "Hello"},
}


def layout_form() -> dict[str, Any]:
    """The form's components."""
    with gr.Blocks():
        return build_layout([]).form


def no_voice(speech: object) -> Any:
    raise AssertionError("no speech is synthesized")


def test_an_estimate_learns_from_runs(tmp_path):
    estimator = Estimator(tmp_path / "runs.json")
    workload = Workload(height=160, width=160, frames=81, calls=12)

    def work_of(clips: int) -> JobWork:
        return count_work(ModelSizes(), workload, clips * clip_spans(81, 81, 81, 25))

    work = work_of(2)
    assert estimator.estimate(work) is None, "the machine was not measured"
    estimator._machine, estimator._speed = "here", 1e9
    guess = estimator.estimate(work)
    assert (guess.seconds > 0, guess.runs) == (True, 0)
    taken = {"denoise": 40.0, "encode": 4.0, "decode": 6.0, "total": 53.0}
    estimator.learn(work, taken)
    again = Estimator(tmp_path / "runs.json")
    again._machine, again._speed = "here", 1e9
    learned = again.estimate(work)
    assert (learned.seconds, learned.runs) == (pytest.approx(53.0), 1)
    assert (learned.costs.clips, learned.costs.preparation) == (pytest.approx(50.0), pytest.approx(3.0))
    assert learned.costs.units["decode"] == pytest.approx(6.0 / 42), "the progress bar starts with it"
    assert again.estimate(work_of(4)).seconds == pytest.approx(103.0)
    again._machine = "elsewhere"
    assert again.estimate(work).runs == 0


@pytest.mark.parametrize(("seconds", "words"), [(1, "5 s"), (41, "45 s"), (100, "2 min"), (7300, "2.0 h")])
def test_durations_are_rounded(seconds, words):
    assert describe_seconds(seconds) == words


def test_one_speaker_has_the_box_that_was_chosen():
    boxes = {"person1": [100, 0, 200, 200], "person2": [200, 0, 300, 200]}
    request = fields.request_from_form(FORM | {"boxes": boxes}, no_voice, no_lora)
    assert list(request.boxes) == ["person1"], "other boxes are those of another mode"
    assert (request.speaking, request.people) == (("person1",), 2)
    assert fields.request_from_form(FORM | {"boxes": {}}, no_voice, no_lora).boxes is None


def test_a_dialogue_of_three_has_their_voices_and_boxes():
    form = FORM | {"mode": "script", "script": "Anna: Hi\nBen: Hello\nCleo: Bye"}
    form |= {"boxes": {f"person{n}": [90 * n - 90, 0, 90 * n, 200] for n in (1, 2, 3, 4)}}
    form |= {"person3_voice": "m2", "person3_scale": 0.5}
    request = fields.request_from_form(form, no_voice, no_lora)
    assert request.speech.voices["person3"] == "m2"
    assert list(request.boxes) == list(request.speaking) == ["person1", "person2", "person3"]
    assert request.audio_scale == {"person3": 0.5}


def test_two_texts_in_turns_become_a_script():
    form = FORM | {"mode": "in_order", "person2_text": "Hi", "person2_voice": "m1"}
    request = fields.request_from_form(form, no_voice, no_lora)
    assert request.speech.text == "(s1) Hello\n(s2) Hi"
    assert request.speech.voices == {"person2": "m1"}
    assert request.people == 2


def test_empty_fields_are_the_models_defaults():
    initial = {name: component.value for name, component in layout_form().items()}
    request = fields.request_from_form(initial | FORM, no_voice, no_lora)
    assert (request.model, request.motion_frames, request.color_correction) == (None, None, None)
    changed = {"model": "infinitetalk", "motion_frames": 9, "color_correction": "0.5"}
    request = fields.request_from_form(initial | FORM | changed, no_voice, no_lora)
    assert (request.model, request.motion_frames, request.color_correction) == ("infinitetalk", 9, 0.5)
    off = fields.request_from_form(initial | FORM | {"color_correction": "0"}, no_voice, no_lora)
    assert off.color_correction == 0
    with pytest.raises(InvalidInput, match=r"color_correction must be .* not 'much'") as error:
        fields.request_from_form(FORM | {"color_correction": "much"}, no_voice, no_lora)
    assert form_errors.place_of(error.value, FORM) == "settings"


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({}, "one_person"),
        ({"continue_from": "/a/first.mp4"}, "one_person (continued)"),
        ({"video": "/a/talking.mp4"}, "talking (dubbed)"),
        ({"prompt": "A scene", "video": "/a/talking.mp4"}, "A scene (dubbed)"),
        ({"person1_source": "text", "continue_from": "/a/first.mp4"}, "Hello (continued)"),
    ],
)
def test_titles_say_what_was_made_of_another_video(changes, title):
    form = FORM | {"person1_source": "sound", "person1_sound": "/a/one_person.wav", "person1_text": "Hello"}
    assert fields.title_of(form | {"prompt": None} | changes) == title


@pytest.mark.parametrize("script", ["Anna: Hello\nBen: Hi", "（s1）Hello\n（s2）Hi", "[s1] Hello [s2] Hi"])
def test_every_form_of_a_dialogue_gives_two_turns(script):
    form = FORM | {"mode": "script", "script": script}
    request = fields.request_from_form(form, no_voice, no_lora)
    turns = [(turn.person, turn.lines()) for turn in read_script(request.speech.text)]
    assert turns == [("person1", ["Hello"]), ("person2", ["Hi"])]
    assert slug(fields.title_of(form)) == "hello-hi"


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        ({"picture": None}, "picture", "image is missing. Add an image"),
        ({"person1_text": " "}, "person1", "Text of person 1 is missing"),
        ({"mode": "in_order"}, "person2", "Text of person 2 is missing"),
        (
            {"mode": "together", "person1_source": "sound", "person1_sound": None, "person2_source": "sound"},
            "person1",
            "Audio of person 1 is missing. Add audio, or choose Text to speech. If only one person speaks, "
            "choose One person.",
        ),
        ({"mode": "together", "person2_source": "sound"}, "person2", "Audio of person 2 is missing"),
        ({"mode": "script"}, "script", "Dialogue is missing"),
        ({"mode": "script", "script": "(s3) Hi"}, "script", r"no \(s1\) and no \(s2\)"),
        ({"mode": "script", "script": "(s1) Hi (s5) Hi"}, "script", r"Use only \(s1\) to \(s4\)"),
        ({"mode": "script", "script": "(s1) Hi"}, "script", r"no \(s2\) in the script"),
        ({"mode": "script", "script": "Anna: Hi"}, "script", r"no \(s2\) in the script"),
        (
            {"mode": "script", "script": "A: Hi\nB: Hi\nC: Hi\nD: Hi\nE: Hi"},
            "script",
            "more than four speakers",
        ),
        ({"steps": 999}, "settings", "steps must be .* not 999"),
        ({"size": "custom", "height": 63, "width": 64}, "settings", "multiples of 16"),
        (
            {"boxes": {"person1": [0, 0, 9999, 9]}, "mode": "in_order", "person2_text": "x"},
            "picture",
            "outside",
        ),
    ],
)
def test_every_error_has_its_place(change, place, words):
    form = FORM | change
    with pytest.raises(InvalidInput, match=words) as error:
        fields.request_from_form(form, no_voice, no_lora)
    assert form_errors.place_of(error.value, form) == place


def test_errors_do_not_contain_folders_of_the_server(tmp_path):
    broken = tmp_path / "voice.wav"
    broken.write_bytes(b"no sound" * 30)
    form = FORM | {"person1_source": "sound", "person1_sound": str(broken)}
    with pytest.raises(InvalidInput) as error:
        fields.request_from_form(form, no_voice, no_lora)
    for message in (
        form_errors.page_message(error.value, form),
        form_errors.hide_folders(str(error.value), [str(broken)]),
    ):
        assert "voice.wav" in message
        assert "/" not in message
    assert form_errors.place_of(error.value, FORM) == "person1"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("image (face.png) cannot be read.", "Image (face.png) cannot be read."),
        ("audio.person2: file is empty.", "Audio of person 2: file is empty."),
        ("boxes.person1 is empty.", "Box of person 1 is empty."),
        ("person1 is outside the image.", "Person 1 is outside the image."),
        ("size must be [64, 64].", "Resolution must be [64, 64]."),
        ("steps must be 1 or null, not 0.", "Steps must be 1 or empty, not 0."),
        (
            "motion_frames must be less than frames_per_clip (5).",
            "Motion frames must be less than frames per clip (5).",
        ),
        ("Text of person 1 is missing.", "Text of person 1 is missing."),
    ],
)
def test_errors_on_the_page_have_its_labels(message, shown):
    assert form_errors.page_message(InvalidInput(message), FORM) == shown


def test_simultaneous_requests_for_audio_get_separate_files(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUT_DIR", str(tmp_path / "outputs"))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    folder = tmp_path / "server"
    folder.mkdir()
    backend = make_backend(folder)
    request = Request({"type": "http", "headers": [(b"cookie", b"multitalk_browser=abc")]})
    together = threading.Barrier(8)

    def save(number: int) -> float:
        sound = Sound(np.full((16_000 * 20 + 16_000 * number, 1), 0.1, np.float32), 16_000)
        together.wait()
        path = backend.save_sound(sound, "words.wav", request)
        assert backend.owners.has(path, "abc")
        return soundfile.info(path).duration - 20

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(save, range(8))) == list(range(8)), "each call gets its file"
    assert list(folder.iterdir()) == [], "only the shared copies are left"


def test_a_call_without_the_images_size_changes_no_estimate():
    """It is older than the image, and its answer may come last."""
    events = object.__new__(Events)
    events.names = list(FORM)
    worker = SimpleNamespace(presets=lambda: [PRESETS["demo"]])
    events.backend = SimpleNamespace(  # type: ignore[assignment]
        worker=worker, check_access=lambda *_: None, times=lambda *_: {"demo": "about 3 s"}
    )
    known, unknown = (events.refresh(None, size, *FORM.values())[0] for size in ((64, 64), None))  # type: ignore[arg-type]
    assert "3 s" in str(known["choices"])
    assert "choices" not in unknown


@pytest.fixture
def ready(tmp_path) -> ModelWorker:
    """A worker that only has a default preset."""
    worker = ModelWorker(None, Gallery(tmp_path, 10**9), Estimator(tmp_path / "runs.json"))
    worker.pipeline = SimpleNamespace(default_preset="quality")  # type: ignore[assignment]
    return worker


@pytest.mark.parametrize(
    ("manifest", "dubs"),
    [
        *(('{"audio_layers": ["multitalk", "infinitetalk-single"]}', True), ("{}", False), ("[]", False)),
        *(('{"audio_layers": ["multitalk"]}', False), ('{"audio_layers": 3}', False), ("{", False)),
    ],
)
def test_a_worker_tells_from_the_manifest_whether_it_can_dub(tmp_path, manifest, dubs):
    (tmp_path / "manifest.json").write_text(manifest)
    start = SimpleNamespace(folder=tmp_path)
    gallery = Gallery(tmp_path, 10**9)
    worker = ModelWorker(None, gallery, Estimator(tmp_path / "runs.json"), start)  # type: ignore[arg-type]
    assert worker.can_dub() is dubs
    with gr.Blocks():
        layout = build_layout([], Supported(dubbing=worker.can_dub()))
    assert (layout.more["dubbing"].visible is True) is dubs, "nothing moves when the models are loaded"


SETTINGS = {"preset": "", "size": "", "height": 480, "width": 480, **dict.fromkeys(PRESET_FIELDS)}


@pytest.mark.parametrize(
    ("size", "height", "width", "shift"),
    [
        *(("", 0, 0, 7.0), ("480p", 0, 0, 7.0), ("720p", 0, 0, 11.0), ("720p-bucket", 0, 0, 11.0)),
        *(("custom", 720, 1280, 11.0), ("custom", 480.0, 832.0, 7.0), ("custom", 721, None, 7.0)),
    ],
)
def test_the_shift_depends_on_the_size(ready, size, height, width, shift):
    form = SETTINGS | {"size": size, "height": height, "width": width}
    assert preset_values(ready, form, (1000, 800))["shift"] == shift
    assert changed_shift(ready, form | {"shift": 7.0}, (1000, 800)) == shift
    assert changed_shift(ready, form | {"shift": 5.5}, (1000, 800)) is None, "a shift set by the user is kept"


def test_values_set_while_models_load_are_kept(ready):
    assert missing_values(ready, SETTINGS, None) == preset_values(ready, SETTINGS, None)
    assert missing_values(ready, SETTINGS | {"steps": 17, "shift": 0}, None).keys() == {
        "shift",
        "text_guidance",
        "audio_guidance",
    }
    assert missing_values(ready, SETTINGS | {"preset": "lightx2v"}, None)["steps"] == 4


def test_the_audio_scales_of_the_people_who_speak():
    request = fields.request_from_form(FORM | {"person1_scale": 0.7, "person2_scale": 0.5}, no_voice, no_lora)
    assert request.audio_scale == {"person1": 0.7}
    assert fields.request_from_form(FORM | {"person1_scale": 1}, no_voice, no_lora).audio_scale == 1.0
    with pytest.raises(InvalidInput, match="audio_scale person1 must be a number from 0 to 2, not 3"):
        fields.request_from_form(FORM | {"person1_scale": 3}, no_voice, no_lora)
