"""Rounds of good and bad requests: the page's process stays as it is after the first ones."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests.media.hostile import jpeg_with_scans, png_header, saved, silent_flac
from tests.process_state import state_of, trend
from tests.ui.api_client import connected
from tests.ui.app import App
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
WARM_UP, ROUNDS = 3, 7
OUTSIDE = {"person1": [0, 0, 9000, 9]}
FAST = {"size": [64, 64], "steps": 1, "frames_per_clip": 5, "motion_frames": 1, "max_seconds": 0.2}
UPLOAD = "/gradio_api/upload"


@pytest.fixture(scope="module")
def own_app(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app without other callers, with a folder of its own for temporary files."""
    folder = tmp_path_factory.mktemp("soak")
    (folder / "tmp").mkdir()
    variables = {"MULTITALK_WEIGHTS": str(weights), "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    with App(folder, **variables) as app:
        yield app.wait_open().wait_loaded()


def make_files(folder: Path) -> None:
    """Create good and bad files; of the smallest good one, 7 MB are decoded."""
    photo = Image.new("RGB", (4000, 3000), "gray")
    noise = np.random.default_rng(0).normal(0, 0.1, (20 * 48000, 2)).astype(np.float32)
    soundfile.write(folder / "voice.flac", noise, 48000)
    contents = {
        "photo.jpg": saved(photo, "JPEG"),
        "progressive.jpg": saved(photo, "JPEG", progressive=True),
        "scans.jpg": jpeg_with_scans(300, 1000),
        "header.png": png_header(30_000, 30_000),
        "half.png": saved(Image.effect_noise((2000, 2000), 50), "PNG")[:1_000_000],
        "silence.flac": silent_flac(20),
        "text.mp3": b"no sound" * 1000,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)


# The endpoint, the arguments, and words of the error.
CALLS: list[tuple[str, dict[str, Any], str | None]] = [
    ("/generate", {"image": "photo.jpg", "audio1": "voice.flac"}, None),
    ("/generate", {"image": "photo.jpg", "audio1": "silence.flac"}, "silent"),
    ("/generate", {"image": "photo.jpg", "audio1": "text.mp3"}, "cannot be read"),
    ("/generate", {"image": "scans.jpg", "audio1": "voice.flac"}, "scans"),
    ("/generate", {"image": "header.png", "audio1": "voice.flac"}, "megapixels"),
    ("/generate", {"image": "progressive.jpg", "audio1": "voice.flac", "boxes": OUTSIDE}, "outside"),
    ("/detect_people", {"image": "progressive.jpg"}, None),
    ("/detect_people", {"image": "half.png"}, "cannot be read"),
    ("/speak", {"text": "Hello."}, None),
    ("/speak", {"text": "你好"}, "language"),
]


def call_all(client: Client, folder: Path) -> None:
    for name, arguments, error in CALLS:
        files = {
            key: handle_file(str(folder / value)) if key in ("image", "audio1") else value
            for key, value in arguments.items()
        }
        settings = {"settings": FAST} if name == "/generate" else {}
        with pytest.raises(AppError, match=error) if error else contextlib.nullcontext():
            client.predict(**files, **settings, api_name=name)


def send_bad_requests(app: App) -> None:
    """Send uploads that are invalid, or end early, and requests for other hosts and sites."""
    foreign = {"Origin": "https://elsewhere.example"}
    picture = {"files": ("a.png", bytes(100_000))}
    statuses = [
        app.post(UPLOAD, content=b"no form", headers={"Content-Type": "multipart/form-data; boundary=x"}),
        app.post(UPLOAD, files=picture, headers=foreign),
        app.get("/", headers={"Host": "elsewhere.example"}),
        app.post("/gradio_api/call/generate", content=b"[" * 100_000),
    ]
    assert [each.status_code for each in statuses] == [400, 403, 403, 422]
    request = (
        f"POST {UPLOAD} HTTP/1.1\r\nHost: 127.0.0.1:{app.port}\r\nContent-Length: 9000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        'Content-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    )
    with socket.create_connection(("127.0.0.1", app.port)) as connection:
        connection.sendall(request.encode() + bytes(2_000_000))


def test_nothing_grows(own_app: App, tmp_path: Path) -> None:
    temporary = own_app.outputs.parent / "tmp"
    make_files(tmp_path)
    states, files = [], []
    with connected(own_app) as client:
        for _ in range(WARM_UP + ROUNDS):
            call_all(client, tmp_path)
            send_bad_requests(own_app)
            states.append(state_of(own_app.process.pid))
            wait_until(lambda: not list(temporary.glob("*/uploads/incoming-*")))  # of the upload that ended
            files.append(sum(len(names) for _, _, names in os.walk(temporary)))
    states, files = states[WARM_UP:], files[WARM_UP:]
    # less than any picture or sound, of which a round has several
    assert trend([state.memory for state in states]) < 3_000_000, states
    for name in ("files", "threads", "children"):
        assert trend([getattr(state, name) for state in states]) < 0.5, (name, states)
    # the clip, the video and the speech, which their browser can download for a day
    assert trend(files) <= 3
