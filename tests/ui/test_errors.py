"""What Gradio says about invalid calls contains no path of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from multitalk.ui.page import UNEXPECTED
from tests.ui.app import EXAMPLES, ROOT, App

pytestmark = pytest.mark.slow
FUNCTIONS = {"detect_people": 1, "generate": 12, "speak": 5}


def file(path: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def call(client: Any, function: str, data: list[Any]) -> str:
    """Call a function in both ways of the API; return what it says."""
    queued = client.post(f"/gradio_api/call/{function}", json={"data": data})
    event = queued.json().get("event_id")
    text = queued.text
    if event is not None:
        text += client.get(f"/gradio_api/call/{function}/{event}").text
    return text + client.post(f"/gradio_api/run/{function}", json={"data": data}).text


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "value",
    [
        file("x.png"),
        file("../x.png"),
        file("{folder}/../../../x"),
        file("{folder}"),
        file("{folder}/none.png"),
        file("/etc/passwd"),
        file("a\0b"),
        file("x" * 5000),
        file(5),
        {"path": "x.png"},
        {},
        [file("x.png")],
        "x.png",
        7,
        {"size": 10**5},
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_invalid_argument_is_answered_without_paths(app: App, function, value):
    with app.client() as client:
        with (EXAMPLES / "one_person.png").open("rb") as picture:
            stored = client.post("/gradio_api/upload", files={"files": ("me.png", picture)}).json()[0]
        folder = str(Path(stored).parent)
        if isinstance(value, dict) and isinstance(value.get("path"), str):
            value = {**value, "path": value["path"].format(folder=folder)}
        said = call(client, function, [value] + [None] * (FUNCTIONS[function] - 1))
    for path in (str(ROOT), folder, str(Path(folder).parents[2]), "site-packages"):
        assert path not in said.replace(str(value), "")
    assert "Traceback" not in said


def test_too_few_arguments_are_answered_with_a_sentence(app: App):
    with app.client() as client:
        assert UNEXPECTED in call(client, "detect_people", [])


def test_a_file_that_was_not_uploaded_is_named_as_that(app: App):
    with app.client() as client:
        assert "Upload it in this browser" in call(client, "detect_people", [file("x.png")])
