"""What is behind the page, without a browser: results, estimates, the queue, faces, fields."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from multitalk.conditioning.describe import describe_job
from multitalk.errors import InvalidInput
from multitalk.hardware.memory import Job as HardwareJob
from multitalk.hardware.sizes import ModelSizes
from multitalk.media.sound import Sound
from multitalk.media.video import VideoWriter
from multitalk.presets import PRESETS, settings_for
from multitalk.request import GenerationRequest, Speech
from multitalk.ui import fields
from multitalk.ui.backend import parse_settings
from multitalk.ui.estimates import Estimator, count_work, describe_seconds
from multitalk.ui.faces import find_people
from multitalk.ui.gallery import Gallery, slug
from multitalk.ui.jobs import Job, JobQueue
from tests.ui.app import EXAMPLES

FORM: dict[str, Any] = {
    **{"picture": str(EXAMPLES / "one_person.png"), "mode": "one", "script": "", "boxes": {}},
    **{f"person{n}_{name}": None for n in (1, 2) for name in ("sound", "text", "voice", "language")},
    **{"person1_source": "text", "person2_source": "text", "person1_text": "Hello"},
}


def write_video(path: Path, frames: int = 5, **settings: Any) -> Path:
    with VideoWriter(path, 64, 64, metadata={"comment": json.dumps(settings)}) as writer:
        writer.write(np.random.default_rng(0).integers(0, 255, (frames, 64, 64, 3), dtype=np.uint8))
    return path


def no_voice(speech: object) -> Any:
    raise AssertionError("nothing is spoken")


def test_results_survive_a_restart_and_the_oldest_go_when_there_are_too_many(tmp_path):
    first = Gallery(tmp_path / "results", limit=10**9)
    names = [first.adopt(write_video(tmp_path / "v.mp4", seed=n), "Hello you!", n) for n in (1, 2, 2)]
    assert names == ["hello-you-seed1.mp4", "hello-you-seed2.mp4", "hello-you-seed2-2.mp4"]
    again = Gallery(tmp_path / "results", limit=10**9)
    assert [result.name for result in again.results()] == names[::-1]
    assert again.result(names[0]).settings == {"seed": 1}
    assert again.poster(names[0]).read_bytes()[:2] == b"\xff\xd8"
    size = (tmp_path / "results" / names[0]).stat().st_size
    small = Gallery(tmp_path / "results", limit=int(2.5 * size))
    newest = small.adopt(write_video(tmp_path / "v.mp4"), "Four", 4)
    assert [result.name for result in small.results()] == [newest, names[2]]
    assert sorted(path.name for path in (tmp_path / "results" / ".posters").iterdir()) == [
        f"{newest}.jpg",
        f"{names[2]}.jpg",
    ]


def test_a_file_is_called_by_its_words():
    assert slug("(s1) Ça va? (S2) Très bien!") == "ca-va-tres-bien"
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("你好") == "video"


def test_an_estimate_learns_from_runs(tmp_path):
    estimator = Estimator(tmp_path / "runs.json")
    job = HardwareJob(height=160, width=160, frames=81, calls=12)
    work = count_work(ModelSizes(), job, clips=2)
    assert estimator.seconds(work) is None, "nothing is known of the machine"
    estimator._machine, estimator._speed = "here", 1e9
    guess, runs = estimator.seconds(work)
    assert (guess > 0, runs) == (True, 0)
    taken = {"denoise": 40.0, "encode": 4.0, "decode": 6.0, "total": 53.0}
    estimator.learn(work, taken)
    again = Estimator(tmp_path / "runs.json")
    again._machine, again._speed = "here", 1e9
    assert again.seconds(work) == (pytest.approx(53.0), 1)
    twice = count_work(ModelSizes(), job, clips=4)
    assert again.seconds(twice)[0] == pytest.approx(103.0)
    again._machine = "elsewhere"
    assert again.seconds(work)[1] == 0


@pytest.mark.parametrize(("seconds", "words"), [(1, "5 s"), (41, "45 s"), (100, "2 min"), (7300, "2.0 h")])
def test_times_in_words(seconds, words):
    assert describe_seconds(seconds) == words


def test_jobs_run_in_order_and_one_that_waits_can_be_cancelled(tmp_path):
    gate, made = threading.Event(), []

    def run(job: Job) -> bool:
        gate.wait(10)
        made.append(job.title)
        if job.title == "bad":
            raise InvalidInput("boxes is empty.", "boxes")
        if job.title == "worse":
            raise RuntimeError("/secret/path")
        return True

    queue = JobQueue(tmp_path, lambda: None, run)
    jobs = [queue.submit(object(), title, "anna") for title in ("a", "bad", "worse", "out", "b")]
    queue.start()
    while jobs[0].status == "waiting":
        pass
    assert [queue.place(job) for job in jobs] == [0, 1, 2, 3, 4]
    queue.cancel(jobs[3])
    assert queue.place(jobs[4]) == 3
    assert queue.latest("anna") is jobs[0]
    assert queue.latest("bert") is None
    gate.set()
    while not jobs[-1].is_over:
        pass
    assert made == ["a", "bad", "worse", "b"]
    assert [job.status for job in jobs] == ["done", "failed", "failed", "cancelled", "done"]
    assert (jobs[1].error, jobs[1].error_field) == ("boxes is empty.", "boxes")
    assert "secret" not in jobs[2].error
    assert queue.latest("anna") is jobs[-1]


def test_people_are_found_left_and_right():
    found = find_people(Image.open(EXAMPLES / "two_people.png"))
    assert found.faces == 2
    left, right = found.boxes["person1"], found.boxes["person2"]
    assert left[0] < left[2] <= right[0] < right[2]
    nobody = find_people(Image.new("RGB", (300, 200), "teal"))
    assert nobody.faces == 0
    assert nobody.boxes["person1"][2] < 150 < nobody.boxes["person2"][0]
    assert "No faces" in nobody.note


def test_two_texts_in_turns_become_a_script():
    form = FORM | {"mode": "in_order", "person2_text": "Hi", "person2_voice": "m1"}
    request = fields.build_request(form, no_voice)
    assert request.speech.text == "(s1) Hello\n(s2) Hi"
    assert request.speech.voices == {"person2": "m1"}
    assert request.people == 2


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        ({"picture": None}, "picture", "Add a picture"),
        ({"person1_text": " "}, "person1", "Type what person 1 says"),
        ({"mode": "in_order"}, "person2", "Type what person 2 says"),
        ({"mode": "together", "person2_source": "sound"}, "person2", "Add a sound for person 2"),
        ({"mode": "script"}, "script", "Write what the two say"),
        ({"mode": "script", "script": "(s3) Hi"}, "script", "only"),
        ({"steps": 999}, "settings", "steps is 999"),
        ({"size": "own", "height": 63, "width": 64}, "settings", "multiples of 16"),
        (
            {"boxes": {"person1": [0, 0, 9999, 9]}, "mode": "in_order", "person2_text": "x"},
            "picture",
            "outside",
        ),
    ],
)
def test_an_error_belongs_to_a_place(change, place, words):
    form = FORM | change
    with pytest.raises(InvalidInput, match=words) as error:
        fields.build_request(form, no_voice)
    assert fields.place_of(error.value, form) == place


def test_errors_do_not_tell_the_servers_folders(tmp_path):
    broken = tmp_path / "voice.wav"
    broken.write_bytes(b"no sound" * 30)
    with pytest.raises(InvalidInput, match=r"voice\.wav") as error:
        fields.build_request(FORM | {"person1_source": "sound", "person1_sound": str(broken)}, no_voice)
    assert str(tmp_path) not in str(error.value)
    assert fields.place_of(error.value, FORM) == "person1"


def test_settings_of_a_file_from_anywhere_are_checked():
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


def test_a_stopped_video_ends_its_sound_with_its_frames(tmp_path):
    sound = Sound(np.full((80_000, 1), 0.1, np.float32), 16_000)
    with VideoWriter(tmp_path / "v.mp4", 64, 64, sound=sound) as writer:
        writer.write(np.zeros((25, 64, 64, 3), np.uint8))
        writer.end_here()
    result = Gallery(tmp_path, 10**9).result("v.mp4")
    assert result.seconds == pytest.approx(1.0, abs=0.08)


def test_words_are_in_the_file_only_where_they_are_asked_for():
    request = GenerationRequest(
        image=Image.new("RGB", (64, 64)), speech=Speech(text="A secret"), prompt="A spy"
    )
    settings = settings_for(PRESETS["demo"], "480p")
    for words in (False, True):
        comment = describe_job(request, PRESETS["demo"], settings, 3, words)["comment"]
        assert ("secret" in comment, "spy" in comment) == (words, words)
        assert {"seed": 3, "steps": 6, "people": 1, "size": "160p"}.items() <= json.loads(comment).items()
