"""Variables that can't be used: the page doesn't open, and one sentence says why."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests.ui.app import ROOT, free_port

pytestmark = pytest.mark.slow


def start(tmp_path, **environment: str) -> tuple[int, list[str]]:
    """Exit status of the app, and the lines of its standard error."""
    given = {key: value for key, value in os.environ.items() if not key.startswith(("GRADIO_", "UI_"))}
    given |= {"GRADIO_SERVER_PORT": str(free_port()), "OUTPUT_DIR": str(tmp_path / "outputs"), "MODE": "ui"}
    given |= {"MULTITALK_WEIGHTS": str(tmp_path / "none")}
    command = [sys.executable, str(ROOT / "app.py")]
    run = subprocess.run(
        command, env=given | environment, cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    return run.returncode, run.stderr.splitlines()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"UI_USERNAME": "anna"}, "UI_USERNAME is set without UI_PASSWORD"),
        ({"UI_PASSWORD": "s3cret", "UI_USERNAME": ""}, "UI_PASSWORD is set without UI_USERNAME"),
        ({"GRADIO_SERVER_PORT": ""}, "GRADIO_SERVER_PORT is ''"),
        ({"GRADIO_SERVER_PORT": "web"}, "GRADIO_SERVER_PORT is 'web'"),
        ({"GRADIO_SERVER_PORT": "70000"}, "from 1 to 65535"),
        ({"GRADIO_SERVER_NAME": "192.0.2.1"}, "can't listen on 192.0.2.1"),
        ({"OUTPUT_LIMIT_GB": "much"}, "OUTPUT_LIMIT_GB must be a number"),
        ({"OUTPUT_DIR": "/dev/null/outputs"}, "OUTPUT_DIR can't be used: Not a directory"),
    ],
)
def test_a_variable_that_cannot_be_used(tmp_path, environment, words):
    status, lines = start(tmp_path, **environment)
    assert status == 2, lines
    assert len(lines) == 1
    assert words in lines[0]
    assert "s3cret" not in lines[0]


def test_a_port_that_is_in_use(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, lines = start(tmp_path, GRADIO_SERVER_PORT=port)
    assert status == 2, lines
    assert len(lines) == 1
    assert f"can't listen on 127.0.0.1, port {port}: Address already in use" in lines[0]
