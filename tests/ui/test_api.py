"""The page's functions as Gradio's client calls them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator

import av
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from multitalk.errors import InvalidInput
from multitalk.request.parts import LoraSpec
from multitalk.ui.api_request import build_request
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
    video, told = job.result(timeout=120)
    assert facts(video)["frames"] == 30
    assert told["status"] == "done"
    assert told["settings"]["seed"] == 7
    clips = [(file, update["clips_done"]) for file, update in job.outputs()[:-1] if file]
    assert [done for _, done in clips] == [1, 2], "each clip is given, however fast they come"
    assert sum(frame_count(file) for file, _ in clips) == 30


def test_generate_says_what_is_wrong(client):
    with pytest.raises(Exception, match="size"):
        client.predict(
            image=handle_file(str(EXAMPLES / "one_person.png")),
            speech="Hello",
            settings={"size": [63, 64]},
            api_name="/generate",
        )


def test_speak(client):
    sound, told = client.predict(text="(s1) Hello. (s2) Hi!", api_name="/speak")
    assert [turn["person"] for turn in told["turns"]] == ["person1", "person2"]
    assert soundfile.info(sound).duration == pytest.approx(told["turns"][-1]["end"], abs=0.1)


def test_detect_people(client):
    found = client.predict(image=handle_file(str(EXAMPLES / "two_people.png")), api_name="/detect_people")
    assert found["faces"] == 2
    left, right = found["boxes"]["person1"], found["boxes"]["person2"]
    assert left[2] <= right[0], "person 1 is on the left"


FACE = handle_file(str(EXAMPLES / "one_person.png"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"settings": {"audio": str(EXAMPLES / "one_person.wav")}}, "settings has audio"),
        ({"settings": {"audio": {"person1": "/etc/passwd"}}}, "settings has audio"),
        ({"settings": {"image": str(EXAMPLES / "two_people.png")}}, "settings has image"),
        ({"settings": {"lora": [{"path": "/etc/passwd"}]}}, "lora can't be given here"),
        ({"settings": {"lora": "../vae/config.json"}}, "lora can't be given here"),
        ({"settings": [["steps", 3]]}, "settings is"),
        ({"settings": "fast"}, "settings is"),
        ({"seed": None}, "seed must be a whole number"),
        ({"settings": {"seed": None}}, "seed must be a whole number"),
        ({"settings": {"seed": [1]}}, "seed must be"),
        ({"settings": {"nonsense": 1}}, "'nonsense' is not a field"),
    ],
)
def test_settings_name_no_files_and_are_settings(client, given, words):
    with pytest.raises(AppError) as error:
        client.predict(image=FACE, speech="Hello", **given, api_name="/generate")
    assert words in str(error.value)
    assert "Error" not in str(error.value)


def test_a_lora_is_one_that_lies_beside_the_weights(weights, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(weights, folder, copy_function=os.link)
    (folder / "loras").mkdir(exist_ok=True)  # an export leaves an empty one
    (folder / "loras" / "smile.safetensors").write_bytes(b"")
    (tmp_path / "secret.safetensors").write_bytes(b"")
    worker = ModelWorker(str(folder), Gallery(tmp_path / "out", 10**9), Estimator(tmp_path / "runs.json"))
    worker.load()

    def lora(value: object) -> tuple[LoraSpec, ...]:
        settings = {"lora": value, "speech": "Hello"}
        picture = str(EXAMPLES / "one_person.png")
        return build_request(picture, {}, {"seed": 42}, settings, worker.lora_file).lora

    smile = folder / "loras" / "smile.safetensors"
    assert lora("smile.safetensors") == (LoraSpec(path=smile),)
    assert lora([{"path": "smile.safetensors", "scale": 0.5}]) == (LoraSpec(path=smile, scale=0.5),)
    refused = ["../../secret.safetensors", str(tmp_path / "secret.safetensors"), str(smile), "", 3, None]
    for name in refused:
        with pytest.raises(InvalidInput, match=r"must be one of smile\.safetensors"):
            lora([{"path": name}])


def test_a_video_that_cannot_be_put_away_can_be_found(weights, tmp_path):
    app = App(tmp_path, MULTITALK_WEIGHTS=str(weights)).wait_open().wait_loaded()
    try:
        shutil.rmtree(app.outputs)  # a volume that is gone
        with connected(app) as client, pytest.raises(AppError) as error:
            client.predict(image=FACE, speech="Hello", settings=FAST, api_name="/generate")
        assert "The video is finished" in str(error.value)
        video = re.search(r"lies on the server as (\S+\.mp4):", str(error.value))[1]
        assert facts(video)["frames"] > 5
    finally:
        app.stop()
