"""``python app.py`` with MODE=serverless as a process of its own, as a container runs it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.ports import HeldPort

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 240  # imports and weights, on a busy machine


class WorkerProcess:
    """A worker.

    Args:
        weights: A baked folder.
        folder: For its log and its temporary files.
        arguments: Of app.py.
        environment: On top of a clean one.
    """

    def __init__(
        self, weights: Path, folder: Path, arguments: list[str], environment: dict[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.log = folder / "log.txt"
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RUNPOD_", "BUCKET_", "MULTITALK_")) and name != "MODE"
        }
        variables = {
            "MODE": "serverless",
            "MULTITALK_WEIGHTS": str(weights),
            "TMPDIR": str(self.temporary),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
        }
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "app.py"), *arguments],
                cwd=folder,
                env=inherited | variables | (environment or {}),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def events(self, name: str | None = None, job_id: str | None = None) -> list[dict[str, Any]]:
        """The lines of its log that are JSON, by event and job."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        events = [json.loads(line) for line in lines]
        return [
            event
            for event in events
            if name in (None, event.get("event")) and job_id in (None, event.get("job_id"))
        ]

    def memory(self) -> int:
        """Its own memory in bytes, without the pages of files, which come and go as the system likes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)[0]) * 1024

    def files(self) -> list[str]:
        """What lies in its temporary folder, but for what the process keeps until it ends.

        That is a folder that torch 2.5 makes for itself, and espeak-ng's library since words were spoken.
        """
        kept = {path.parent for path in self.temporary.glob("*/_remote_module_non_scriptable.py")}
        kept |= set(self.temporary.glob("multitalk-espeak-*"))
        paths = [path for path in self.temporary.rglob("*") if not {path, *path.parents} & kept]
        return sorted(path.name for path in paths)

    def stop(self) -> None:
        """End it, as a container's stop does."""
        if self.process.poll() is not None:
            return
        children = psutil.Process(self.process.pid).children(recursive=True)  # the SDK's ping process
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()


class LocalServer(WorkerProcess):
    """A worker behind the SDK's local API server."""

    def __init__(self, weights: Path, folder: Path, environment: dict[str, str] | None = None) -> None:
        self._held = HeldPort()
        port = self._held.number
        arguments = ["--rp_serve_api", "--rp_api_host", "127.0.0.1", "--rp_api_port", str(port)]
        super().__init__(weights, folder, arguments, environment)
        self.url = f"http://127.0.0.1:{port}"

    def wait_until_ready(self) -> LocalServer:
        """Wait for its port to answer."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the worker ended: {self.log.read_text()[-3000:]}")
            try:
                requests.get(f"{self.url}/openapi.json", timeout=10)
                self._held.let_go()
                return self
            except requests.ConnectionError:
                time.sleep(0.2)
        raise AssertionError(f"the worker didn't start: {self.log.read_text()[-3000:]}")

    def post(self, path: str, fields: Any = None) -> dict[str, Any]:
        """Post to the API; without fields, an empty body."""
        body = None if fields is None else {"input": fields}
        response = requests.post(f"{self.url}/{path}", json=body, timeout=240)
        assert response.status_code == 200, response.text[:1000]
        return response.json()


def start_client(
    folder: Path, options: list[str], environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start examples/client.py in a folder."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "client.py"), *options],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )


def hear_interrupts() -> None:
    """In a child: Ctrl-C ends it, also where the tests themselves run in the background and ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_client(
    folder: Path, options: list[str], environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run examples/client.py in a folder until it ends."""
    client = start_client(folder, options, environment)
    output, errors = client.communicate(timeout=240)
    return subprocess.CompletedProcess(client.args, client.returncode, output, errors)
