"""The SDK's real worker loop against a fake RunPod API, with a real S3 server for the results."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.serverless.conftest import base64_of, client_settings, frame_count, job_fields, png, wav
from tests.serverless.fake_runpod import FakeRunPod
from tests.serverless.gate import Gate
from tests.serverless.storage import Storage
from tests.serverless.worker_process import WorkerProcess, run_client, start_client
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
TINY = {"frames_per_clip": 5, "motion_frames": 1}
CLIPS = {"frames_per_clip": 21, "motion_frames": 5}
LONG = {"size": [128, 128], "steps": 200, "frames_per_clip": 81, "motion_frames": 25}


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    server = Storage()
    yield server
    server.close()


@pytest.fixture(scope="module")
def runpod_api() -> Iterator[FakeRunPod]:
    api = FakeRunPod()
    yield api
    api.close()


@pytest.fixture(scope="module")
def gate(storage) -> Iterator[Gate]:
    """In front of the storage, to turn it off for a while."""
    gate = Gate(storage.url)
    yield gate
    gate.close()


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("volume")


@pytest.fixture(scope="module")
def worker(small_weights, runpod_api, storage, gate, volume, tmp_path_factory) -> Iterator[WorkerProcess]:
    environment = runpod_api.environment | storage.environment | {"OUTPUT_ROOT": str(volume)}
    environment["BUCKET_ENDPOINT_URL"] = gate.url
    environment["FITNESS_HASHES"] = "true"
    process = WorkerProcess(small_weights, tmp_path_factory.mktemp("loop"), [], environment)
    yield process
    process.stop()


def do(api: FakeRunPod, fields: Any) -> dict[str, Any]:
    return api.wait_for(api.submit(fields))


def test_a_job_is_taken_and_its_video_is_in_the_bucket(runpod_api, worker, storage):
    job_id = runpod_api.submit(job_fields(1.0, **CLIPS))
    output = runpod_api.wait_for(job_id)["output"]
    assert output["status"] == "success"
    assert "video_base64" not in output
    key = f"made/{job_id}/video.mp4"
    stored = storage.client.get_object(Bucket=storage.bucket, Key=key)
    assert stored["ContentType"] == "video/mp4"
    content = stored["Body"].read()
    assert requests.get(output["video_url"], timeout=30).content == content, "byte for byte"
    assert "X-Amz-Expires=600" in output["video_url"]
    assert frame_count(content) == output["frames"] == 25


def test_before_the_first_job_the_weights_are_verified_and_a_small_job_is_done(runpod_api, worker):
    do(runpod_api, job_fields(**TINY))
    names = [event["event"] for event in worker.events()]
    order = ["weights_loaded", "worker_ready", "hashes_checked", "fitness_job_done", "job_started"]
    assert [names.index(name) for name in order] == sorted(names.index(name) for name in order)


def test_two_people_words_and_the_known_workers_names_posted_at_once(runpod_api, worker):
    two = {"person1": base64_of(wav(0.2)), "person2": base64_of(wav(0.2, seed=1))}
    words = job_fields(audio=None, speech="Good morning to you.", max_seconds=0.2, **TINY)
    alias = {"image_path": base64_of(png()), "audio_paths": two, "audio_type": "para", "sample_steps": 1}
    jobs = [job_fields(audio=two, **TINY), words, {**alias, "size": [64, 64], **TINY}]
    answers = [runpod_api.wait_for(job_id) for job_id in [runpod_api.submit(job) for job in jobs]]
    outputs = [answer["output"] for answer in answers]
    assert [output["frames"] for output in outputs] == [5, 5, 5]
    assert outputs[2]["filename"] == "generated_video"
    assert [frame_count(requests.get(each["video_url"], timeout=30).content) for each in outputs] == [5, 5, 5]


def test_progress_and_each_finished_clips_url(runpod_api, worker, storage):
    # the second clip takes seconds, so that an update, once a second, is sure to come after the first's URL
    job_id = runpod_api.submit(job_fields(1.4, **{**CLIPS, "size": [128, 128], "steps": 200}))
    output = runpod_api.wait_for(job_id)["output"]
    updates = sorted(runpod_api.updates[job_id], key=lambda update: update["update"])
    assert len(updates) >= 2
    assert [update["update"] for update in updates] == list(range(1, len(updates) + 1))
    fractions = [update["fraction"] for update in updates]
    assert fractions == sorted(fractions)
    assert all({"stage", "clip", "clips", "step", "steps", "eta"} <= set(update) for update in updates)
    finished = updates[-1]["finished_clips"]
    assert [clip["clip"] for clip in finished] == list(range(len(finished)))
    first = requests.get(finished[0]["video_url"], timeout=30).content
    assert frame_count(first) == 21
    assert output["frames"] == 35


def test_a_job_cancelled_in_the_middle_of_sampling_stops_and_the_next_succeeds(runpod_api, worker, storage):
    job_id = runpod_api.submit(job_fields(3.0, **LONG))
    runpod_api.wait_until(
        lambda: any(update["step"] > 0 for update in runpod_api.updates[job_id]), what="a sampling step"
    )
    runpod_api.wait_until(lambda: {"job_id": [job_id]}.items() <= runpod_api.pings[-1].items(), what="a ping")
    runpod_api.stop(job_id)
    assert do(runpod_api, job_fields(**TINY))["output"]["status"] == "success"
    assert worker.events("job_cancelled", job_id)
    assert job_id not in runpod_api.results
    assert max(update["step"] for update in runpod_api.updates[job_id]) < 200
    assert not [key for key in storage.list_keys() if f"/{job_id}/" in key]
    assert worker.files() == []


def test_the_client_shows_progress_and_saves_clips_and_video(runpod_api, worker, client_files):
    options = ["--endpoint", "endpoint1", "--image", "face.png", "--audio", "voice.wav"]
    # seconds of sampling, so that the client, who asks once a second, is sure to see some of it
    slow = client_settings(size=[128, 128], steps=200)
    run = run_client(client_files, [*options, *slow, "-o", "out.mp4"], runpod_api.caller_environment)
    assert run.returncode == 0, run.stderr
    assert "denoise" in run.stderr
    assert frame_count((client_files / "out.mp4").read_bytes()) == 35
    assert frame_count((client_files / "out-clip000-00.mp4").read_bytes()) == 21


def test_ctrl_c_of_the_client_cancels_the_job(runpod_api, worker, client_files):
    options = ["--endpoint", "endpoint1", "--image", "face.png", "--audio", "voice.wav", "-o", "out.mp4"]
    client = start_client(client_files, [*options, *client_settings(**LONG)], runpod_api.caller_environment)
    known = set(runpod_api.updates)

    def sampling() -> list[str]:
        fresh = [job_id for job_id in list(runpod_api.updates) if job_id not in known]
        return [job_id for job_id in fresh if any(each["step"] > 0 for each in runpod_api.updates[job_id])]

    runpod_api.wait_until(sampling, what="a sampling step")
    (job_id,) = sampling()
    client.send_signal(signal.SIGINT)
    assert client.wait(30) == 130
    assert do(runpod_api, job_fields(**TINY))["output"]["status"] == "success"
    assert worker.events("job_cancelled", job_id)
    assert not list(client_files.glob("*.mp4"))


def test_a_failing_job_tells_field_and_type_and_the_next_succeeds(runpod_api, worker):
    failed = do(runpod_api, job_fields(steps=0))
    assert "steps" in failed["error"]
    assert failed["output"] == {"error_type": "invalid_input", "field": "steps"}
    assert "error" not in do(runpod_api, job_fields(**TINY))


def test_wrong_credentials_are_told_and_the_video_is_kept(runpod_api, worker, storage, volume):
    storage.check_credentials(True)
    try:
        failed = do(runpod_api, job_fields(**TINY))
    finally:
        storage.check_credentials(False)
    assert "InvalidAccessKeyId" in failed["error"]
    assert "BUCKET_" in failed["error"]
    assert "hush-hush" not in json.dumps(failed) + worker.log.read_text()
    assert str(volume) not in failed["error"]
    kept = Path(failed["output"]["video_path"])
    assert kept.is_relative_to(volume)
    assert str(kept.relative_to(volume)) in failed["error"]
    assert frame_count(kept.read_bytes()) == 5
    assert "video_url" in do(runpod_api, job_fields(**TINY))["output"], "with the right ones it works again"


@pytest.mark.parametrize("answer", [503, "reset"])
def test_a_bucket_that_is_down_for_a_moment_loses_no_video(runpod_api, worker, storage, gate, volume, answer):
    tries, kept = len(worker.events("bucket_retry")), list(volume.rglob("*.mp4"))
    job_id = runpod_api.submit(job_fields(1.0, **{**CLIPS, "steps": 50}))
    runpod_api.wait_until(lambda: runpod_api.updates[job_id], what="the job's start")
    gate.always = answer
    try:
        wait_until(lambda: len(worker.events("bucket_retry")) >= tries + 2, what="a second attempt")
    finally:
        gate.always = None
    output = runpod_api.wait_for(job_id)["output"]
    content = requests.get(output["video_url"], timeout=30).content
    assert frame_count(content) == output["frames"] == 25
    assert "warning" not in output
    assert list(volume.rglob("*.mp4")) == kept


def test_weights_that_are_damaged_end_the_worker_before_it_takes_a_job(small_weights, tmp_path):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(small_weights, broken)
    next(broken.glob("vae/*.safetensors")).unlink()
    api = FakeRunPod()
    try:
        job_id = api.submit(job_fields(**TINY))
        process = WorkerProcess(broken, tmp_path / "worker", [], api.environment)
        assert process.process.wait(240) == 1
        assert job_id not in api.results
        assert any(ping.get("status") == ["unhealthy"] for ping in api.pings), "RunPod is told"
        assert process.events("weights_failed")
    finally:
        api.close()


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_worker_that_is_told_to_end_answers_its_job_as_cancelled(small_weights, tmp_path, stream):
    api = FakeRunPod()
    environment = api.environment | {"FITNESS_JOB": "false", "STREAM_CLIPS": stream}
    worker = WorkerProcess(small_weights, tmp_path / "worker", [], environment)
    try:
        job_id = api.submit(job_fields(30.0, **LONG))  # ten clips of many steps: it won't be done by itself
        api.wait_until(
            lambda: any(update["step"] > 0 for update in api.updates[job_id]), what="a sampling step"
        )
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(120) == 0
        assert "cancelled" in api.results[job_id]["error"]
        assert worker.events("job_failed", job_id)[-1]["error_type"] == "cancelled"
        assert worker.files() == []
    finally:
        worker.stop()
        api.close()
