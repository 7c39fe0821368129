"""Invalid variables give a one-line error; signals stop the page cleanly."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from gradio_client import handle_file
from gradio_client.utils import Status

from tests.ports import HeldPort
from tests.ui.api_client import connected
from tests.ui.app import EXAMPLES, ROOT, App, HeldApp, page_variables
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def start(tmp_path, **environment: str) -> tuple[int, list[str]]:
    """Run the app; return its exit status and the lines of standard error."""
    command = [sys.executable, str(ROOT / "app.py")]
    with HeldPort() as port:
        variables = {"GRADIO_SERVER_PORT": str(port.number), "MULTITALK_WEIGHTS": str(tmp_path / "none")}
        variables = page_variables(tmp_path, **(variables | environment))
        run = subprocess.run(
            command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=240
        )
    return run.returncode, run.stderr.splitlines()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"UI_USERNAME": "anna"}, "UI_USERNAME is set without UI_PASSWORD"),
        ({"UI_PASSWORD": "s3cret", "UI_USERNAME": ""}, "UI_PASSWORD is set without UI_USERNAME"),
        ({"GRADIO_SERVER_PORT": "web"}, "GRADIO_SERVER_PORT must be a port from 1 to 65535, not 'web'"),
        ({"GRADIO_SERVER_PORT": "70000"}, "not '70000'"),
        ({"GRADIO_SERVER_NAME": "192.0.2.1"}, "Cannot listen on 192.0.2.1"),
        ({"OUTPUT_LIMIT_GB": "much"}, "OUTPUT_LIMIT_GB must be a number"),
        ({"UPLOAD_LIMIT_GB": "0"}, "UPLOAD_LIMIT_GB must be a number of gigabytes above 0"),
        ({"UPLOAD_LIMIT_PER_BROWSER_GB": "x"}, "UPLOAD_LIMIT_PER_BROWSER_GB must be a number"),
        ({"UPLOAD_KEEP_FREE_GB": "x"}, "UPLOAD_KEEP_FREE_GB must be a number"),
        ({"ALLOWED_HOSTS": "a b"}, "ALLOWED_HOSTS must be host names"),
        (
            {"OUTPUT_DIR": "/dev/null/outputs"},
            "OUTPUT_DIR cannot be used (/dev/null/outputs): Not a directory",
        ),
    ],
)
def test_invalid_variables(tmp_path, environment, words):
    status, lines = start(tmp_path, **environment)
    assert status == 2, lines
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert words in lines[0]
    assert "s3cret" not in lines[0]


def test_a_blank_port_is_the_default(tmp_path):
    """Also for Gradio, which reads the variable when it is imported."""
    with HeldPort() as port:
        code = f"from multitalk.ui import server; server.DEFAULT_PORT = {port.number}; server.serve()"
        variables = page_variables(tmp_path, GRADIO_SERVER_PORT=" ", MULTITALK_WEIGHTS=str(tmp_path / "none"))
        process = subprocess.Popen([sys.executable, "-c", code], env=variables, cwd=ROOT)

        def is_open() -> bool:
            assert process.poll() is None
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"http://127.0.0.1:{port.number}/robots.txt").status_code < 500
            return False

        try:
            wait_until(is_open, what="the page on the default port")
        finally:
            process.terminate()
            status = process.wait(60)
    assert status == 0


def test_a_port_in_use(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, lines = start(tmp_path, GRADIO_SERVER_PORT=port)
    assert status == 2, lines
    assert len(lines) == 1
    assert f"Cannot listen on 127.0.0.1, port {port}: Address already in use" in lines[0]


def end(app: App) -> int:
    """Send SIGTERM, as `docker stop` does; return the exit status."""
    app.process.send_signal(signal.SIGTERM)
    try:
        return app.process.wait(60)
    finally:
        app.stop()


def temporary_files(folder: Path) -> set[str]:
    """Return the names of the page's temporary files; torch has its cache in the same folder."""
    return {path.name.rsplit("-", 1)[0] for path in folder.glob("multitalk*")}


def test_a_stop_ends_the_job_and_deletes_temporary_files(weights, tmp_path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    app = App(tmp_path, MULTITALK_WEIGHTS=str(weights), TMPDIR=str(temporary))
    try:
        app.wait_open().wait_loaded()
        with connected(app) as client:
            job = client.submit(
                image=handle_file(str(EXAMPLES / "one_person.png")),
                speech="One clip after the other is made for as long as somebody speaks. " * 20,
                settings={"size": [64, 64], "steps": 200},
                api_name="/generate",
            )
            running = '"status": "running"'
            wait_until(lambda: running in json.dumps(job.outputs()), what=running)
            assert {"multitalk-page", "multitalk-espeak"} <= temporary_files(temporary)
            assert not job.done()
            assert end(app) == 0, app.log.read_text()
    finally:
        app.stop()
    assert temporary_files(temporary) == set()


def test_a_stop_does_not_wait_for_the_models(weights, tmp_path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    app = HeldApp(tmp_path, MULTITALK_WEIGHTS=str(weights), TMPDIR=str(temporary))
    try:
        app.wait_open()
        with connected(app) as client:
            job = client.submit(text="Hello", api_name="/speak")
            wait_until(lambda: job.status().code == Status.PROCESSING, what="a request that waits for models")
            assert temporary_files(temporary) == {"multitalk-page"}
            assert end(app) == 0, app.log.read_text()
    finally:
        app.stop()
    assert temporary_files(temporary) == set()
