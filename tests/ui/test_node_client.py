"""Gradio's client for JavaScript, which keeps no cookies, as docs/PAGE.md shows it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest

from tests.ui.app import EXAMPLES, ROOT, App

pytestmark = pytest.mark.slow
FAST = {"size": [64, 64], "steps": 2, "max_seconds": 0.4}
Run = Callable[[str], "subprocess.CompletedProcess[str]"]

DETECT = """
import {{ randomBytes }} from "node:crypto";
import {{ Client, handle_file }} from "@gradio/client";
const headers = {{ "X-MultiTalk-Token": randomBytes(32).toString("base64url") }};
const client = await Client.connect("{url}", {options});
const image = handle_file("examples/two_people.png");
try {{
  console.log(JSON.stringify((await client.predict("/detect_people", {{ image }})).data[0]));
}} catch (error) {{
  console.log(error.message);
}}
process.exit();
"""


@pytest.fixture
def run_node(node_folder: Path) -> Run:
    def run(program: str) -> subprocess.CompletedProcess[str]:
        (node_folder / "program.mjs").write_text(program)
        return subprocess.run(
            ["node", "program.mjs"], cwd=node_folder, capture_output=True, text=True, timeout=240
        )

    return run


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[App]:
    """An app with a login and without models."""
    login = {"UI_USERNAME": "anna", "UI_PASSWORD": "s3cret"}
    app = App(tmp_path, MULTITALK_WEIGHTS=str(tmp_path / "none"), **login)
    try:
        yield app.wait_open()
    finally:
        app.stop()


def documented_program() -> str:
    (program,) = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "PAGE.md").read_text(), re.DOTALL)
    return str(program)


def test_the_documented_program_makes_a_video(app, run_node, node_folder):
    program = documented_program().replace("http://localhost:7860", app.url)
    run = run_node(program.replace("{ max_seconds: 2 }", json.dumps(FAST)))
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    with av.open(str(node_folder / "out.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 10
    states = [line.split()[0] for line in run.stdout.splitlines()]
    assert states[-1] == "done"


def test_a_program_with_a_token_uses_its_uploads(app, run_node):
    run = run_node(DETECT.format(url=app.url, options="{ headers }"))
    assert json.loads(run.stdout)["faces"] == 2, run.stderr


def test_a_program_without_a_token_is_told_what_is_missing(app, run_node):
    run = run_node(DETECT.format(url=app.url, options="{}"))
    assert "X-MultiTalk-Token" in run.stdout


def test_a_program_logs_in_and_uses_its_uploads(guarded, run_node):
    options = """{ headers, auth: ["anna", "s3cret"] }"""
    run = run_node(DETECT.format(url=guarded.url, options=options))
    assert json.loads(run.stdout)["faces"] == 2, run.stderr


def test_an_invalid_token_is_refused(app):
    answer = app.get("/config", headers={"X-MultiTalk-Token": "short"})
    assert answer.status_code == 400
    assert "43 letters" in answer.json()["detail"]


def test_a_token_is_used_instead_of_the_cookie(app):
    with app.client() as client:
        with (EXAMPLES / "one_person.png").open("rb") as file:
            path = client.post("/gradio_api/upload", files={"files": ("me.png", file)}).json()[0]
        url = f"/gradio_api/file={path}"
        assert client.get(url).status_code == 200
        token = client.cookies["multitalk_browser"]
        assert client.get(url, headers={"X-MultiTalk-Token": "x" * 43}).status_code == 403
    answer = app.get(url, headers={"X-MultiTalk-Token": token})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
