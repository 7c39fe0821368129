"""The API, called with Gradio's client."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from multitalk.errors import InvalidInput
from multitalk.request.aliases import COMMON_NAMES, SIDES
from multitalk.request.parts import LoraSpec
from multitalk.ui.api_request import request_from_call
from multitalk.ui.estimates import Estimator
from multitalk.ui.gallery import Gallery
from multitalk.ui.worker import ModelWorker
from tests.ui.api_client import connected
from tests.ui.app import EXAMPLES, App
from tests.ui.steps import facts

pytestmark = pytest.mark.slow
FAST = {"size": [64, 64], "steps": 1, "frames_per_clip": 21, "motion_frames": 5, "max_seconds": 1.2}


@pytest.fixture(scope="module")
def client(app) -> Iterator[Client]:
    with connected(app) as client:
        yield client


def test_the_names_are_stable(client):
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {
        "/generate",
        "/speak",
        "/detect_people",
    }


def frame_count(path: str) -> int:
    with av.open(path) as file:
        return sum(1 for _ in file.decode(video=0))


def test_generate(client):
    job = client.submit(
        image=handle_file(str(EXAMPLES / "one_person.png")),
        audio1=handle_file(str(EXAMPLES / "one_person.wav")),
        seed=7,
        settings=FAST,
        api_name="/generate",
    )
    video, result = job.result(timeout=120)
    assert facts(video)["frames"] == 30
    assert result["status"] == "done"
    assert result["settings"]["seed"] == 7
    clips = [(file, update["clips_done"]) for file, update in job.outputs()[:-1] if file]
    assert [done for _, done in clips] == [1, 2], "each clip is sent, however fast they finish"
    assert sum(frame_count(file) for file, _ in clips) == 30


def test_generate_reports_invalid_settings(client):
    with pytest.raises(Exception, match="size"):
        client.predict(
            image=handle_file(str(EXAMPLES / "one_person.png")),
            speech="Hello",
            settings={"size": [63, 64]},
            api_name="/generate",
        )


def test_speak(client):
    sound, report = client.predict(text="(s1) Hello. (s2) Hi!", api_name="/speak")
    assert [turn["person"] for turn in report["turns"]] == ["person1", "person2"]
    assert soundfile.info(sound).duration == pytest.approx(report["turns"][-1]["end"], abs=0.1)


def test_detect_people(client):
    found = client.predict(image=handle_file(str(EXAMPLES / "two_people.png")), api_name="/detect_people")
    assert found["faces"] == 2
    left, right = found["boxes"]["person1"], found["boxes"]["person2"]
    assert left[2] <= right[0], "person 1 is on the left"


FACE = handle_file(str(EXAMPLES / "one_person.png"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"settings": {"audio": str(EXAMPLES / "one_person.wav")}}, "settings cannot contain audio"),
        ({"settings": {"audio": {"person1": "/etc/passwd"}}}, "settings cannot contain audio"),
        ({"settings": {"image": str(EXAMPLES / "two_people.png")}}, "settings cannot contain image"),
        ({"settings": {"lora": [{"path": "/etc/passwd"}]}}, "lora is not supported"),
        ({"settings": {"lora": "../vae/config.json"}}, "lora is not supported"),
        ({"settings": [["steps", 3]]}, "settings must be fields"),
        ({"settings": "fast"}, "settings must be fields"),
        ({"seed": None}, "seed must be a whole number"),
        ({"seed": "abc"}, "seed must be a whole number from -1 to 9223372036854775807, not 'abc'"),
        ({"seed": 1.5}, "seed must be a whole number from -1 to 9223372036854775807, not 1.5"),
        ({"seed": 2**70}, "seed must be a whole number"),
        ({"seed": [1]}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"settings": {"steps": "abc"}}, "steps must be a whole number"),
        ({"settings": {"max_seconds": "abc"}}, "max_seconds must be a number"),
        ({"settings": {"seed": None}}, "seed must be a whole number"),
        ({"settings": {"seed": [1]}}, "seed must be"),
        ({"settings": {"nonsense": 1}}, "'nonsense' is not a field"),
    ],
)
def test_invalid_settings_and_paths_are_refused(client, arguments, words):
    with pytest.raises(AppError) as error:
        client.predict(image=FACE, speech="Hello", **arguments, api_name="/generate")
    assert words in str(error.value)
    assert "Error" not in str(error.value)


ALIASES = [
    ({"num_inference_steps": 2}, {"steps": 2}),
    ({"guidance_scale": 2.5}, {"text_guidance": 2.5}),
    ({"audio_guidance_scale": 3}, {"audio_guidance": 3.0}),
    ({"num_frames": 41}, {"frames_per_clip": 41}),
    ({"generator_seed": 7}, {"seed": 7}),
    ({"height": 64, "width": 112}, {"size": [64, 112]}),
]


@pytest.mark.parametrize(
    ("sounds", "message"),
    [
        (("audio2",), "audio2 (two_people.png) cannot be read"),
        (("audio1", "audio2"), "audio1 (two_people.png) cannot be read"),
    ],
)
def test_errors_name_the_argument_of_a_sound(client, sounds, message):
    files = {name: handle_file(str(EXAMPLES / "two_people.png")) for name in sounds}
    with pytest.raises(AppError) as error:
        client.predict(image=FACE, **files, api_name="/generate")
    assert message in str(error.value)


@pytest.mark.parametrize("boxes", [None, {"person1": [0, 0, 60, 90]}])
def test_audio2_alone_needs_a_box_of_person_1(boxes):
    """The request's own check decides."""
    sounds = {"person2": str(EXAMPLES / "one_person.wav")}

    def read():
        face = str(EXAMPLES / "one_person.png")
        return request_from_call(face, sounds, {"boxes": boxes}, None, find_lora=Path)

    if boxes is None:
        with pytest.raises(InvalidInput, match="audio2 is set, but person1 is missing") as caught:
            read()
        assert caught.value.field == "audio.person2"
    else:
        assert list(read().audio) == ["person2"]


@pytest.mark.parametrize("speed", ["fast", None, 9, {}, True])
def test_an_invalid_speed_is_named(client, speed):
    with pytest.raises(AppError, match=r"speech speed must be a number from 0\.25 to 4, not"):
        client.predict(text="Hello", speed=speed, api_name="/speak")


def test_settings_accept_the_common_names(client):
    assert {name for settings, _ in ALIASES for name in settings} == {*COMMON_NAMES, *SIDES}
    settings, expected = (
        {name: value for fields in column for name, value in fields.items()}
        for column in zip(*ALIASES, strict=True)
    )
    settings |= {"motion_frames": 5, "max_seconds": 0.4}
    _, result = client.predict(image=FACE, speech="Hello", settings=settings, api_name="/generate")
    assert expected.items() <= result["settings"].items()


@pytest.mark.parametrize(("settings", "expected"), ALIASES)
def test_a_setting_overrides_an_argument_under_any_name(settings, expected):
    arguments = {"seed": 42, "size": "720p", "speech": "Hello"}
    request = request_from_call(str(EXAMPLES / "one_person.png"), {}, arguments, settings, Path)
    ((field, value),) = expected.items()
    assert getattr(request, field) == (tuple(value) if field == "size" else value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps must be"),
        ({"steps": 2, "num_inference_steps": 2}, "steps and num_inference_steps"),
        ({"height": 64}, "width is missing"),
        ({"generator_seed": None}, "generator_seed must be"),
    ],
)
def test_errors_have_the_name_in_use(client, settings, words):
    with pytest.raises(AppError) as error:
        client.predict(image=FACE, speech="Hello", settings=settings, api_name="/generate")
    assert words in str(error.value)


def test_loras_are_limited_to_those_of_the_weights(weights, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(weights, folder, copy_function=os.link)
    (folder / "loras").mkdir(exist_ok=True)  # an export creates an empty one
    (folder / "loras" / "smile.safetensors").write_bytes(b"")
    (tmp_path / "secret.safetensors").write_bytes(b"")
    worker = ModelWorker(str(folder), Gallery(tmp_path / "out", 10**9), Estimator(tmp_path / "runs.json"))
    worker.load()

    def lora(value: object) -> tuple[LoraSpec, ...]:
        settings = {"lora": value, "speech": "Hello"}
        picture = str(EXAMPLES / "one_person.png")
        return request_from_call(picture, {}, {"seed": 42}, settings, worker.lora_file).lora

    smile = folder / "loras" / "smile.safetensors"
    assert lora("smile.safetensors") == (LoraSpec(path=smile),)
    assert lora([{"path": "smile.safetensors", "scale": 0.5}]) == (LoraSpec(path=smile, scale=0.5),)
    refused = ["../../secret.safetensors", str(tmp_path / "secret.safetensors"), str(smile), "", 3, None]
    for name in refused:
        with pytest.raises(InvalidInput, match=r"must be one of smile\.safetensors"):
            lora([{"path": name}])


def test_the_error_names_the_file_of_an_unsaved_video(weights, tmp_path):
    app = App(tmp_path, MULTITALK_WEIGHTS=str(weights)).wait_open().wait_loaded()
    try:
        shutil.rmtree(app.outputs)  # a volume that is gone
        with connected(app) as client, pytest.raises(AppError) as error:
            client.predict(image=FACE, speech="Hello", settings=FAST, api_name="/generate")
        assert "The video is finished" in str(error.value)
        video = re.search(r"Copy (\S+\.mp4) on the server", str(error.value))[1]
        assert facts(video)["frames"] > 5
    finally:
        app.stop()
