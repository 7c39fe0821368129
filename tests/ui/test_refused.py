"""Refused calls leave nothing behind in the page's server."""

from __future__ import annotations

from pathlib import Path

import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests.media.hostile import saved, silent_flac
from tests.process_state import state_of
from tests.ui.api_client import connected
from tests.ui.app import EXAMPLES, App

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "photo.jpg").write_bytes(saved(Image.new("RGB", (3000, 2000), "gray"), "JPEG"))
    (folder / "silence.flac").write_bytes(silent_flac(10))
    (folder / "damaged.png").write_bytes(saved(Image.effect_noise((2000, 2000), 50), "PNG")[:100_000])
    return folder


REFUSED = {
    "silent audio": ("/generate", {"image": "photo.jpg", "audio1": "silence.flac"}, "silent"),
    "box outside": ("/generate", {"image": "photo.jpg", "boxes": {"person1": [0, 0, 9000, 9]}}, "outside"),
    "damaged picture": ("/detect_people", {"image": "damaged.png"}, "cannot be read"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_calls_leave_no_memory_behind(app: App, files: Path, kind: str) -> None:
    name, values, words = REFUSED[kind]
    arguments = {
        key: handle_file(str(files / value)) if isinstance(value, str) else value
        for key, value in values.items()
    }
    if name == "/generate":
        arguments.setdefault("audio1", handle_file(str(EXAMPLES / "one_person.wav")))
    with connected(app) as client:

        def refuse(count: int) -> None:
            for _ in range(count):
                with pytest.raises(AppError, match=words):
                    client.predict(**arguments, api_name=name)

        refuse(5)
        before = state_of(app.process.pid)
        refuse(25)
        after = state_of(app.process.pid)
    # one picture has 24 MB, one sound 15 MB, and the damaged picture 12 MB
    assert after.memory < before.memory + 10_000_000, (before, after)
    assert after.children == before.children
