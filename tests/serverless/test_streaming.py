"""A worker with STREAM_CLIPS=true: clips as soon as they are decoded, then the whole, on every way to ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serverless.conftest import client_settings, decoded, frame_count, job_fields
from tests.serverless.fake_runpod import FakeRunPod
from tests.serverless.worker_process import LocalServer, WorkerProcess, run_client

pytestmark = pytest.mark.slow
CLIPS = {"frames_per_clip": 21, "motion_frames": 5}
STREAMING = {"STREAM_CLIPS": "true", "FITNESS_JOB": "false"}


@pytest.fixture(scope="module")
def server(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    worker = LocalServer(small_weights, tmp_path_factory.mktemp("local"), STREAMING)
    worker.wait_until_ready()
    yield worker
    worker.stop()


def check_messages(messages: list[dict[str, Any]], frames: int) -> None:
    """Clips in order, each playable, together the whole video; then the whole."""
    *clips, whole = messages
    assert [message["type"] for message in clips] == ["clip"] * len(clips)
    assert [clip["clip"] for clip in clips] == [0, 1]
    assert [clip["first_frame"] for clip in clips] == [0, 21]
    assert [frame_count(decoded(clip)) for clip in clips] == [clip["frames"] for clip in clips] == [21, 14]
    assert (whole["status"], whole["frames"]) == ("success", frames)
    assert frame_count(decoded(whole)) == frames


def test_run_and_stream(server):
    job = server.post("run", job_fields(1.4, **CLIPS))
    answer = server.post(f"stream/{job['id']}")
    assert answer["status"] == "COMPLETED"
    check_messages([message["output"] for message in answer["stream"]], 35)


def test_runsync_and_status(server):
    check_messages(server.post("runsync", job_fields(1.4, **CLIPS))["output"], 35)
    job = server.post("run", job_fields(1.4, **CLIPS))
    check_messages(server.post(f"status/{job['id']}")["output"], 35)


def test_previews_are_streamed_before_their_clip(server):
    fields = job_fields(1.4, **CLIPS, preview=True, steps=4, vae="fast")
    *messages, whole = server.post("runsync", fields)["output"]
    kinds = [(message["type"], message["clip"]) for message in messages]
    assert kinds == [*([("preview", 0)] * 3), ("clip", 0), *([("preview", 1)] * 3), ("clip", 1)]
    previews = [message for message in messages if message["type"] == "preview"]
    assert [(message["step"], message["steps"], message["fps"]) for message in previews[:3]] == [
        *((1, 4, 6.25), (2, 4, 6.25), (3, 4, 6.25))
    ]
    assert [frame_count(decoded(message)) for message in previews] == [6, 6, 6, 4, 4, 4]
    assert [message["frames"] for message in previews] == [6, 6, 6, 4, 4, 4]
    assert whole["frames"] == 35
    assert server.files() == []


def test_the_client_saves_streamed_clips(server, client_files):
    options = ["--url", server.url, "--stream", "--image", "face.png", "--audio", "voice.wav"]
    run = run_client(client_files, [*options, *client_settings(), "-o", "out.mp4"])
    assert run.returncode == 0, run.stderr
    videos = {path.name: frame_count(path.read_bytes()) for path in client_files.glob("*.mp4")}
    assert videos == {"out.mp4": 35, "out-clip000-00.mp4": 21, "out-clip001-00.mp4": 14}


def test_a_bad_job_streams_its_error(server):
    output = server.post("runsync", job_fields(steps=0))["output"]
    assert output[-1]["error_type"] == "invalid_input"
    assert output[-1]["field"] == "steps"
    assert server.files() == []


def test_the_worker_loop(small_weights, tmp_path):
    """Streamed, failed and cancelled jobs, one after the other, in one worker."""
    api = FakeRunPod()
    worker = WorkerProcess(small_weights, tmp_path / "worker", [], api.environment | STREAMING)
    try:
        job_id = api.submit(job_fields(1.4, **CLIPS))
        output = api.wait_for(job_id)["output"]
        assert output == api.streams[job_id], "the result is all messages together"
        check_messages(output, 35)

        failed = api.wait_for(api.submit(job_fields(audio="/etc/passwd")))
        assert "audio" in failed["error"]

        long = api.submit(job_fields(3.0, size=[128, 128], steps=200, frames_per_clip=81))
        api.wait_until(lambda: any(update["step"] > 0 for update in api.updates[long]), what="a step")
        api.stop(long)
        check_messages(api.wait_for(api.submit(job_fields(1.4, **CLIPS)))["output"], 35)
        assert worker.events("job_cancelled", long)
        assert long not in api.results
        assert api.streams[long] == []
        assert worker.files() == []
    finally:
        worker.stop()
        api.close()
