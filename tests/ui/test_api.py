"""The page's functions as Gradio's client calls them."""

from __future__ import annotations

import pytest
import soundfile
from gradio_client import Client, handle_file

from tests.ui.app import EXAMPLES
from tests.ui.steps import facts

pytestmark = pytest.mark.slow
FAST = {"size": [64, 64], "steps": 1, "frames_per_clip": 21, "motion_frames": 5, "max_seconds": 1.2}


@pytest.fixture(scope="module")
def client(app) -> Client:
    return Client(app.url, verbose=False)


def test_the_names_are_stable(client):
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {
        "/generate",
        "/speak",
        "/detect_people",
    }


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
    updates = [update for _, update in job.outputs()]
    assert any(update.get("clips_done") for update in updates[:-1])


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
