"""Jobs on disk: a restarted queue continues with them."""

from __future__ import annotations

import json
import shutil
import threading
import time

import numpy as np
import pytest
from PIL import Image

from multitalk.errors import MultiTalkError
from multitalk.media.sound import Sound
from multitalk.request.build import build_request
from multitalk.request.generation_request import GenerationRequest
from multitalk.request.parts import Speech
from multitalk.ui import job_store
from multitalk.ui.job import Job
from multitalk.ui.job_store import KEEP_FREE, LOST_SECONDS, JobRecord, JobStore
from multitalk.ui.jobs import LOST, JobQueue
from multitalk.ui.queue_limits import MAX_PER_BROWSER
from tests.media.sound_files import tone
from tests.media.video_files import video
from tests.ui.requests import small_request
from tests.waiting import wait_until


def queue_of(tmp_path, run=lambda job: True) -> JobQueue:
    return JobQueue(tmp_path / "work", lambda: None, run, store=JobStore(tmp_path / "jobs"))


def full_request() -> GenerationRequest:
    """Return a request with a value for fields of every kind."""
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 255, (90, 70, 3), np.uint8))
    picture.info["transparency"] = (1, 2, 3)
    sounds = {
        person: (random.normal(0, 0.6, (rate, channels)).astype(np.float32), rate)
        for person, rate, channels in (("person1", 44_100, 2), ("person2", 16_000, 1), ("person3", 8_000, 1))
    }
    fields = {"image": picture, "audio": sounds, "boxes": {"person1": [1, 2, 30.5, 40]}}
    fields |= {"size": [64, 96], "seed": 7, "cache": {"name": "magcache", "ratios": [1.0, 0.9]}}
    request = build_request(fields | {"turns": "add", "prompt": "你好", "max_seconds": 1.5, "apg": True})
    return request.with_warnings("A damaged part was skipped.")


@pytest.mark.parametrize(
    "request_",
    [
        full_request(),
        build_request(
            {"image": Image.new("RGB", (64, 64)), "speech": {"text": "(s1) Hi. (s2) Ho!", "speed": 2}}
        ),
    ],
    ids=["audio", "speech"],
)
def test_a_stored_request_is_the_same(tmp_path, request_):
    store, record = JobStore(tmp_path), JobRecord("a" * 32, "Title", "anna")
    scripts = {"person1": Speech(text="Hi", language={"person1": "b"})}
    store.add(record, request_, scripts)
    (read,) = store.records()
    again = store.request(read.id)
    assert store.scripts(read) == scripts
    assert again.model_dump(exclude={"image", "audio"}) == request_.model_dump(exclude={"image", "audio"})
    assert again.model_fields_set == request_.model_fields_set
    assert again.warnings == request_.warnings
    assert again.image.tobytes() == request_.image.tobytes()
    assert (again.audio or {}).keys() == (request_.audio or {}).keys()
    for person, sound in (request_.audio or {}).items():
        same: Sound = again.audio[person]
        assert same.rate == sound.rate
        np.testing.assert_array_equal(same.samples, sound.samples)


def test_a_stored_request_has_its_video(tmp_path):
    content = video(frames=5, sound=tone(1.0)[:, 0])
    fields = {"source_volume": 0.5, "dub": "exact", "strength": 0.5, "video_end": "loop"}
    fields |= {"scenes": True}
    request = GenerationRequest(video=content, audio=(tone(1.0), 16000), **fields)
    store = JobStore(tmp_path)
    store.add(JobRecord("a" * 32, "Title", "anna"), request, {})
    again = store.request("a" * 32)
    assert again.video is not None
    assert again.video.frames == 5
    assert again.picture.tobytes() == request.picture.tobytes()
    assert {name: getattr(again, name) for name in fields} == fields
    assert again.source_sound is not None


def test_videos_leave_room_for_results(tmp_path, monkeypatch):
    content = video(frames=5)
    request = GenerationRequest(video=content, audio=(tone(1.0), 16000))
    store = JobStore(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=KEEP_FREE + 100))
    store.add(JobRecord("a" * 32, "Title", "anna"), request, {})
    assert store.records() == []
    assert list(tmp_path.iterdir()) == []


def test_waiting_jobs_run_after_a_restart(tmp_path):
    first = queue_of(tmp_path)
    scripts = {"person1": Speech(text="Hi")}
    jobs = [first.submit(small_request(), title, "anna", scripts) for title in ("one", "two", "three")]
    first.submit(small_request(), "of a program", "anna", keep=False)
    first.cancel(jobs[1])
    seen = []

    def run(job: Job) -> bool:
        seen.append((job.title, job.request.audio["person1"].rate, dict(job.scripts)))
        return True

    again = queue_of(tmp_path, run)
    assert [again.place(again.job(jobs[number].id)) for number in (0, 2)] == [0, 1]
    again.start()
    wait_until(lambda: again.job(jobs[2].id).status == "done")
    assert seen == [("one", 16_000, scripts), ("three", 16_000, scripts)]
    assert list((tmp_path / "jobs").iterdir()) == [], "finished jobs are deleted"


def test_a_job_that_ran_is_lost_and_can_be_requested_again(tmp_path):
    began = threading.Event()
    first = queue_of(tmp_path, lambda job: began.set() or (job.cancel.wait(60) and False))
    lost = first.submit(small_request(), "lost", "anna")
    waiting = first.submit(small_request(), "waiting", "anna")
    first.start()
    assert began.wait(60)
    again = queue_of(tmp_path)
    job = again.job(lost.id)
    assert (job.status, job.error, job.is_over) == ("lost", LOST, True)
    assert again.latest("anna") is job
    assert again.next_of_owner(job) is again.job(waiting.id)
    again.again(job)
    assert (job.status, job.error) == ("waiting", None)
    assert again.place(job) == 1
    again.again(job)
    assert again.place(job) == 1, "only once"
    again.start()
    wait_until(lambda: job.is_over)
    assert job.status == "done"
    lost.cancel.set()


def test_a_server_that_stops_keeps_its_jobs(tmp_path):
    began = threading.Event()

    def run(job: Job) -> bool:
        began.set()
        job.cancel.wait(60)
        job.result = "part.mp4"
        return False

    first = queue_of(tmp_path, run)
    running, waiting = (first.submit(small_request(), title, "anna") for title in ("one", "two"))
    first.start()
    assert began.wait(60)
    first.close(60)
    again = queue_of(tmp_path)
    assert (again.job(running.id).status, again.job(running.id).result) == ("lost", "part.mp4")
    assert again.job(waiting.id).status == "waiting"
    again.cancel(again.job(running.id))
    assert again.job(running.id) is None
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == [waiting.id]


def test_a_lost_job_needs_a_place_in_the_queue(tmp_path):
    store = JobStore(tmp_path / "jobs")
    record = JobRecord("a" * 32, "lost", "anna")
    store.add(record, small_request(), {})
    record.started = True
    store.update(record)
    queue = queue_of(tmp_path)
    for _ in range(MAX_PER_BROWSER):
        queue.submit(small_request(), "one", "anna")
    with pytest.raises(MultiTalkError, match="already waiting"):
        queue.again(queue.job(record.id))
    assert queue.job(record.id).status == "lost"


def test_damaged_and_old_jobs_are_deleted(tmp_path, monkeypatch):
    store = JobStore(tmp_path)
    for letter in "abcd":
        store.add(JobRecord(letter * 32, letter, "anna", started=letter == "c"), small_request(), {})
    (tmp_path / ("a" * 32) / "job.json").write_text("{")
    (tmp_path / ("b" * 32) / "job.json").unlink()  # the server stopped while it was written
    (tmp_path / "other").mkdir()
    now = time.time()
    monkeypatch.setattr(job_store.time, "time", lambda: now + LOST_SECONDS + 1)
    assert [record.title for record in store.records()] == ["d"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d" * 32, "other"]


def test_a_job_whose_files_are_missing_fails(tmp_path):
    job = queue_of(tmp_path).submit(small_request(), "one", "anna")
    (tmp_path / "jobs" / job.id / "image.png").unlink()
    again = queue_of(tmp_path)
    again.start()
    wait_until(lambda: again.job(job.id).is_over)
    assert again.job(job.id).status == "failed"
    assert str(tmp_path) not in again.job(job.id).error


def test_a_job_that_cannot_be_stored_runs(tmp_path):
    (tmp_path / "jobs").write_text("a file in place of the folder")
    queue = queue_of(tmp_path)
    job = queue.submit(small_request(), "one", "anna")
    queue.start()
    wait_until(lambda: job.is_over)
    assert job.status == "done"


def test_stored_jobs_are_private(tmp_path):
    job = queue_of(tmp_path).submit(small_request(), "one", "anna")
    folder = tmp_path / "jobs" / job.id
    assert folder.stat().st_mode & 0o077 == 0
    assert json.loads((folder / "job.json").read_text())["owner"] == "anna"
