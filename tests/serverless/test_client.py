"""The example's client against an endpoint that fails at times: a paid result is not lost."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.serverless.conftest import base64_of
from tests.serverless.worker_process import run_client

VIDEO = b"an mp4"
RESULT = {"status": "success", "frames": 5, "seconds": 0.2, "seed": 7}
DROP, CUT = "drop", "cut"
JOB = ["--endpoint", "endpoint1", "--image", "face.png", "-o", "out.mp4"]


class UnsteadyServer:
    """RunPod's API and a bucket on 127.0.0.1, which answer by a script.

    Attributes:
        script: By the first part of a path ("run", "status", "stream", "clip", "video"): an answer for each
            request, the last one also for all that follow. A dict is JSON, bytes are a file, a number is a
            status, DROP closes the connection without an answer, and CUT in the middle of one.
        asked: How often each was asked for.
        sent: The input of the last job.
    """

    def __init__(self) -> None:
        self.script: dict[str, list[Any]] = {"run": [{"id": "job-1"}]}
        self.asked: Counter[str] = Counter()
        self.sent: dict[str, Any] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._answer(self)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.path.endswith("/run"):
                    server.sent = json.loads(body)["input"]
                server._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to ask this server."""
        return {"RUNPOD_ENDPOINT_BASE_URL": self.url, "RUNPOD_API_KEY": "caller-key"}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        what = request.path.removeprefix("/endpoint1").split("/")[1]
        answers = self.script[what]
        answer = answers[min(self.asked[what], len(answers) - 1)]
        self.asked[what] += 1
        if answer == DROP:
            return  # HTTP/1.0: the connection is closed
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        request.send_response(answer if isinstance(answer, int) else 200)
        request.send_header("Content-Length", str(len(content) + (100 if answer == CUT else 0)))
        request.end_headers()
        request.wfile.write(content)


@pytest.fixture
def server() -> Iterator[UnsteadyServer]:
    unsteady = UnsteadyServer()
    yield unsteady
    unsteady.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "face.png").write_bytes(b"a picture")
    (tmp_path / "b.wav").write_bytes(b"a voice")
    return tmp_path


def completed(output: Any) -> dict[str, Any]:
    return {"id": "job-1", "status": "COMPLETED", "output": output}


def test_what_fails_on_the_way_is_asked_for_again_and_a_lost_clip_is_left_out(server, folder):
    clips = [{"clip": 0, "video_url": f"{server.url}/clip/0"}]
    progress = {"stage": "denoise", "clip": 1, "clips": 2, "fraction": 0.5, "finished_clips": clips}
    server.script |= {
        "status": [
            *[DROP, {"status": "IN_PROGRESS", "output": progress}, 429, 503],
            completed(RESULT | {"video_url": f"{server.url}/video"}),
        ],
        "clip": [404],
        "video": [500, CUT, VIDEO],
    }
    run = run_client(folder, JOB, server.environment)
    assert run.returncode == 0, run.stderr
    assert (folder / "out.mp4").read_bytes() == VIDEO
    assert server.asked == {"run": 1, "status": 5, "clip": 1, "video": 3}
    assert "out-clip000-00.mp4 is skipped: download: status 404" in run.stderr
    assert "status: status 429" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_waiting_job_is_shown(server, folder):
    waiting = [{"status": "IN_QUEUE"}, {"status": "IN_PROGRESS"}]
    server.script["status"] = [*waiting, completed(RESULT | {"video_base64": base64_of(VIDEO)})]
    run = run_client(folder, JOB, server.environment)
    assert run.returncode == 0, run.stderr
    assert re.search(r"waiting for a worker, \d+ s\s+in progress, \d+ s", run.stderr)


def test_a_job_that_was_given_up_is_picked_up_again(server, folder):
    server.script["status"] = [503]
    given_up = run_client(folder, [*JOB, "--patience", "1.5"], server.environment)
    assert given_up.returncode == 1
    assert "Use --job job-1 to resume it" in given_up.stderr
    assert "Traceback" not in given_up.stderr

    server.script["status"] = [completed(RESULT | {"video_base64": base64_of(VIDEO)})]
    options = ["--endpoint", "endpoint1", "--job", "job-1", "-o", "out.mp4"]
    picked_up = run_client(folder, options, server.environment)
    assert picked_up.returncode == 0, picked_up.stderr
    assert (folder / "out.mp4").read_bytes() == VIDEO
    assert server.asked["run"] == 1


def test_streamed_messages_that_got_lost_are_taken_from_the_status(server, folder):
    """Each is given once: here one with a clip arrives, and the answer with all others is lost."""
    clips = [
        {"type": "clip", "clip": index, "part": 0, "video_base64": base64_of(b"clip %d" % index)}
        for index in range(2)
    ]
    half = len(VIDEO) // 2
    parts = [
        {"type": "video", "part": index, "parts": 2, "video_base64": base64_of(part)}
        for index, part in enumerate((VIDEO[:half], VIDEO[half:]))
    ]
    server.script |= {
        "stream": [
            {"status": "IN_PROGRESS", "stream": [{"output": clips[0]}]},
            DROP,
            {"status": "COMPLETED", "stream": []},
        ],
        "status": [completed([*clips, *parts, RESULT | {"video_parts": 2}])],
    }
    run = run_client(folder, [*JOB, "--stream"], server.environment)
    assert run.returncode == 0, run.stderr
    written = {path.name: path.read_bytes() for path in folder.glob("*.mp4")}
    assert written == {"out.mp4": VIDEO, "out-clip000-00.mp4": b"clip 0", "out-clip001-00.mp4": b"clip 1"}


def test_what_no_patience_helps_ends_at_once(server, folder):
    server.script["status"] = [404]
    run = run_client(folder, JOB, server.environment)
    assert run.returncode == 1
    assert server.asked == {"run": 1, "status": 1}
    server.script["run"] = [503]
    refused = run_client(folder, JOB, server.environment)
    assert refused.stderr.startswith("run: status 503")
    assert server.asked["run"] == 2, "a job isn't sent twice"


@pytest.mark.parametrize("output", ["nowhere/out.mp4", "."])
def test_where_the_video_goes_is_looked_at_before_a_job_is_sent(output, server, folder):
    run = run_client(folder, [*JOB[:-1], output], server.environment)
    assert run.returncode == 1
    assert "choose another" in run.stderr.lower()
    assert "Traceback" not in run.stderr
    assert not server.asked


def test_a_sound_for_one_and_words_for_the_other(server, folder):
    server.script["status"] = [completed(RESULT | {"video_base64": base64_of(VIDEO)})]
    run = run_client(folder, [*JOB, "--audio2", "b.wav", "--say", "Hi"], server.environment)
    assert run.returncode == 0, run.stderr
    voice = base64_of(b"a voice")
    assert server.sent == {
        "image": base64_of(b"a picture"),
        "audio": {"person2": voice},
        "speech": {"text": "Hi"},
    }
    run_client(folder, [*JOB, "--audio", "b.wav", "--set", "steps=4"], server.environment)
    assert (server.sent["audio"], server.sent["steps"]) == ({"person1": voice}, 4)
    dub = ["--video" if option == "--image" else option for option in JOB]
    run_client(folder, [*dub, "--audio", "b.wav"], server.environment)
    assert server.sent == {"video": base64_of(b"a picture"), "audio": {"person1": voice}}
