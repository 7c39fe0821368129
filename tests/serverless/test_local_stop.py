"""The SDK's local API server: it stops like the worker on RunPod, and drops jobs that nobody waits for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests

from multitalk.runtime import temporary_folders
from tests.serverless.conftest import decoded, frame_count, job_fields
from tests.serverless.worker_process import LocalServer, WorkerProcess
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
TINY = {"frames_per_clip": 5, "motion_frames": 1}
# few enough steps that the first clip, whose frames make the file that the tests wait for, takes a moment
LONG = {"size": [128, 128], "steps": 20, "frames_per_clip": 81, "motion_frames": 25}


def long_job() -> dict[str, object]:
    """Ten clips, of which the tests see the first: it will not be done by itself."""
    return {"input": job_fields(30.0, **LONG)}


@pytest.fixture(scope="module")
def plain(small_weights, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    worker = LocalServer(small_weights, tmp_path_factory.mktemp("plain") / "worker").wait_until_ready()
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def streaming(small_weights, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("streaming") / "worker"
    worker = LocalServer(small_weights, folder, {"STREAM_CLIPS": "true"}).wait_until_ready()
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def restarted(
    streaming: LocalServer, small_weights, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalServer]:
    """A worker after another one, which was killed in the middle of a job and left files."""
    with ThreadPoolExecutor(1) as pool:
        before = jobs_read(streaming)
        call = pool.submit(requests.post, f"{streaming.url}/runsync", json=long_job(), timeout=240)
        wait_for_sampling(streaming, before + 1)
        streaming.process.kill()
        streaming.process.wait(60)
        assert isinstance(call.exception(), requests.ConnectionError)
    assert streaming.files() != []
    folder = tmp_path_factory.mktemp("restarted") / "worker"
    worker = LocalServer(small_weights, folder, {"TMPDIR": str(streaming.temporary)}).wait_until_ready()
    worker.temporary = streaming.temporary
    yield worker
    worker.stop()


def jobs_read(server: LocalServer) -> int:
    return len(server.events("inputs_read"))


def wait_for_sampling(server: LocalServer, count: int) -> None:
    wait_until(lambda: jobs_read(server) >= count, what="a job that runs")
    wait_until(lambda: any("video" in name for name in server.files()), what="a file of the job")


@pytest.mark.parametrize("kind", ["plain", "streaming"])
def test_a_job_whose_caller_has_gone_is_dropped_and_the_next_one_runs(kind, request):
    server: LocalServer = request.getfixturevalue(kind)
    for number, route in enumerate(["runsync", "status"], 1):
        path, job = "/runsync", long_job()
        if route == "status":
            path = f"/status/{requests.post(f'{server.url}/run', json=job, timeout=60).json()['id']}"
        caller = HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        body = json.dumps(job) if route == "runsync" else None
        caller.request("POST", path, body, {"Content-Type": "application/json"})
        wait_until(lambda: jobs_read(server) == number, what="a job that runs")  # noqa: B023
        caller.close()
        wait_until(lambda: len(server.events("job_cancelled")) == number, what="the job's end")  # noqa: B023
    output = server.post("runsync", job_fields(**TINY))["output"]
    last = output[-1] if isinstance(output, list) else output
    assert frame_count(decoded(last)) == 5
    assert server.files() == []


def test_the_next_start_removes_what_a_killed_worker_left(restarted):
    assert restarted.files() == []


@pytest.mark.parametrize(("kind", "number"), [("plain", signal.SIGTERM), ("restarted", signal.SIGINT)])
def test_a_stop_with_a_job_under_way_answers_it_as_cancelled(kind, number, request):
    server: LocalServer = request.getfixturevalue(kind)
    before = jobs_read(server)
    with ThreadPoolExecutor(2) as pool:
        answers = [
            pool.submit(requests.post, f"{server.url}/runsync", json=long_job(), timeout=240)
            for _ in range(2)
        ]
        wait_for_sampling(server, before + 2)
        server.process.send_signal(number)
        for answer in answers:  # the second job was waiting for the first
            content = answer.result().json()
            assert content["status"] == "FAILED"
            assert "cancelled" in content["error"]
    assert server.process.wait(120) == 0, server.log.read_text()[-2000:]
    assert [event["error_type"] for event in server.events("job_failed")] == ["cancelled"] * 2
    assert server.files() == []


def test_a_test_input_that_is_told_to_end_leaves_nothing(small_weights, tmp_path):
    job = job_fields(audio=None, speech="It goes on and on. " * 12, **LONG)  # short enough for an argument
    worker = WorkerProcess(small_weights, tmp_path / "worker", ["--test_input", json.dumps({"input": job})])
    try:
        wait_until(lambda: any("video" in name for name in worker.files()), 240, what="a file of the job")
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(120) == 0
        assert worker.files() == []
    finally:
        worker.stop()


HOLDER = """
import os, sys, time
from multitalk.runtime.temporary_folders import temporary_folder
with temporary_folder("job") as folder:
    (folder / "video.mp4").write_bytes(b"x")
    if sys.argv[1] == "fork" and os.fork() > 0:
        os.kill(os.getpid(), 9)
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("way", ["alive", "killed", "fork"])
def test_only_folders_of_ended_processes_are_removed(tmp_path, monkeypatch, way):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(temporary_folders.tempfile, "tempdir", None)
    command = [sys.executable, "-c", HOLDER, way]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        other = tmp_path / "multitalk-notes-abcdefgh"
        other.mkdir()
        (tmp_path / "multitalk-job-abcdefgh").symlink_to(other)
        if way == "killed":
            holder.kill()
        if way != "alive":  # a lock is released while its process ends, before it can be waited for
            holder.wait(60)
        temporary_folders.remove_abandoned_folders()
        assert folder.exists() == (way == "alive")
        assert other.is_dir(), "neither other names nor the targets of links"
    finally:
        if way != "killed":
            os.killpg(holder.pid, signal.SIGKILL)
        holder.wait(60)
        monkeypatch.setattr(temporary_folders.tempfile, "tempdir", None)
