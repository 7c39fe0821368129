"""RunPod's API as a worker sees it, on loopback: hands out jobs, takes results and pings, stops jobs."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

CALLER_KEY = "caller-key"


class FakeRunPod:
    """A server on 127.0.0.1 that drives the SDK's real worker loop.

    Attributes:
        results: What the worker posted at a job's end, by job.
        updates: Progress updates, by job.
        streams: Streamed messages, by job.
        pings: Parameters of the pings.
    """

    def __init__(self) -> None:
        self.results: dict[str, dict[str, Any]] = {}
        self.updates: dict[str, list[Any]] = defaultdict(list)
        self.streams: dict[str, list[Any]] = defaultdict(list)
        self.sizes: dict[str, list[int]] = defaultdict(list)
        self.pings: list[dict[str, list[str]]] = []
        self._jobs: queue.Queue[dict[str, Any]] = queue.Queue()
        self._stops: queue.Queue[str] = queue.Queue()
        self._changed = threading.Condition()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                fake._get(self)

            def do_POST(self) -> None:
                fake._post(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self._count = 0
        self.cancelled: set[str] = set()
        self._streamed: dict[str, int] = defaultdict(int)

    @property
    def environment(self) -> dict[str, str]:
        """What RunPod sets in a worker's container."""
        base = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID",
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_POD_ID": "worker1",
            "RUNPOD_AI_API_KEY": "loopback-key",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
        }

    @property
    def caller_environment(self) -> dict[str, str]:
        """What a client needs to ask this server instead of RunPod."""
        base = f"http://127.0.0.1:{self._server.server_address[1]}/v2"
        return {"RUNPOD_ENDPOINT_BASE_URL": base, "RUNPOD_API_KEY": CALLER_KEY}

    def submit(self, fields: Any, job_id: str | None = None) -> str:
        """Queue a job; returns its id."""
        self._count += 1
        job_id = job_id or f"job-{self._count}"
        self._jobs.put({"id": job_id, "input": fields})
        return job_id

    def stop(self, job_id: str) -> None:
        """Tell the worker to stop a job."""
        self._stops.put(job_id)

    def wait_for(self, job_id: str, timeout: float = 240) -> dict[str, Any]:
        """The result of a job."""
        self.wait_until(lambda: job_id in self.results, timeout, f"the result of {job_id}")
        return self.results[job_id]

    def wait_until(self, condition: Any, timeout: float = 240, what: str = "it") -> None:
        """Wait until something is so; fails the test when that takes too long."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise AssertionError(f"waited {timeout} s for {what}")

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def _get(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        if parts.path.startswith("/v2/"):
            self._answer_caller(request, *parts.path.split("/")[3:5])
        elif parts.path.startswith("/job-take/"):
            self._hand_out(request, self._jobs, lambda job: job)
        elif parts.path.startswith("/job-stop/"):
            self._hand_out(request, self._stops, lambda job_id: {"jobsToStop": [job_id]})
        else:
            with self._changed:
                self.pings.append(parse_qs(parts.query))
                self._changed.notify_all()
            _reply(request, 200, {})

    def _hand_out(self, request: BaseHTTPRequestHandler, source: Any, wrap: Any) -> None:
        deadline = time.monotonic() + 1.0  # RunPod holds the poll open for longer
        while time.monotonic() < deadline:
            try:
                _reply(request, 200, wrap(source.get(timeout=0.05)))
                return
            except queue.Empty:
                continue
        _reply(request, 204, None)

    def _post(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        parts = urlsplit(request.path)
        if parts.path.startswith("/v2/"):
            self._take_from_caller(request, parts.path.split("/")[3:], body)
            return
        message = json.loads(body)
        job_id = parts.path.rsplit("/", 1)[1]
        with self._changed:
            if parts.path.startswith("/job-stream/"):
                self.streams[job_id].append(message["output"])
                self.sizes[job_id].append(len(body))
            elif message.get("status") == "IN_PROGRESS":
                self.updates[job_id].append(message["output"])
            else:
                self.results[job_id] = message
            self._changed.notify_all()
        _reply(request, 200, {})

    def _take_from_caller(self, request: BaseHTTPRequestHandler, path: list[str], body: bytes) -> None:
        if request.headers.get("Authorization") != f"Bearer {CALLER_KEY}":
            _reply(request, 401, {})
        elif path == ["run"]:
            job_id = self.submit(json.loads(body)["input"])
            _reply(request, 200, {"id": job_id, "status": "IN_QUEUE"})
        else:
            self.cancelled.add(path[1])
            self.stop(path[1])
            _reply(request, 200, {"id": path[1], "status": "CANCELLED"})

    def _answer_caller(self, request: BaseHTTPRequestHandler, what: str, job_id: str) -> None:
        """``/status`` and ``/stream`` as RunPod answers them; the latter gives each message once."""
        answer: dict[str, Any] = {"id": job_id, "status": "IN_PROGRESS"}
        if job_id in self.results:
            result = self.results[job_id]
            answer |= {"status": "FAILED" if "error" in result else "COMPLETED"} | result
        elif job_id in self.cancelled:
            answer["status"] = "CANCELLED"
        elif self.updates[job_id]:
            answer["output"] = self.updates[job_id][-1]
        if what == "stream":
            answer.pop("output", None)
            fresh = self.streams[job_id][self._streamed[job_id] :]
            self._streamed[job_id] += len(fresh)
            answer["stream"] = [{"output": message} for message in fresh]
        _reply(request, 200, answer)


def _reply(request: BaseHTTPRequestHandler, status: int, content: Any) -> None:
    body = b"" if content is None else json.dumps(content).encode()
    try:
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
    except OSError:
        pass  # the worker has gone
