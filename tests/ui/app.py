"""The real app as a process."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.ports import HeldPort

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
ARTIFACTS = ROOT / "tests" / "artifacts"
# without the browser's own interface: 40 % less processor time per page
CHROMIUM = shutil.which("chromium-headless-shell") or "/usr/bin/chromium"
CHROMIUM_ARGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run", "--autoplay-policy=no-user-gesture-required"),
]


START_SECONDS = 240  # imports and weights, on a busy machine
ANSWER_SECONDS = 60  # on a busy machine; httpx's default is 5


def page_variables(folder: Path, **environment: str) -> dict[str, str]:
    """Return this process's variables without those of the page, with results in `folder`."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("GRADIO_", "UI_"))}
    # a busy machine takes many minutes for what the tests ask for
    return (
        variables
        | {"MODE": "ui", "OUTPUT_DIR": str(folder / "outputs"), "ASK_ABOVE_MINUTES": "60"}
        | environment
    )


class App:
    """``python app.py`` on a free port."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._held = HeldPort()
        self.port = self._held.number
        self.url = f"http://127.0.0.1:{self.port}"
        self.outputs = folder / "outputs"
        self.log = folder / "log.txt"
        self._variables = page_variables(folder, **({"GRADIO_SERVER_PORT": str(self.port)} | environment))
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("a") as log:
            return subprocess.Popen(
                [sys.executable, str(ROOT / "app.py")],
                cwd=ROOT,
                env=self._variables,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> App:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def kill(self) -> None:
        """End the process like a crash."""
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        """Start the app again on the same port, with the same results."""
        self.process = self._start()

    def client(self) -> httpx.Client:
        """Return a client that keeps its cookies, like a browser."""
        return httpx.Client(base_url=self.url, timeout=ANSWER_SECONDS)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Send a GET request without a cookie."""
        return httpx.get(self.url + path, timeout=ANSWER_SECONDS, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Send a POST request without a cookie."""
        return httpx.post(self.url + path, timeout=ANSWER_SECONDS, **options)

    def wait_open(self, path: str = "/robots.txt") -> App:
        def is_open() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.get(path).status_code < 500

        self._wait(is_open)
        self._held.let_go()
        return self

    def wait_listening(self, address: str) -> App:
        """Wait for an app that listens on another address."""
        self.url = f"http://{address}:{self.port}"
        return self.wait_open()

    def wait_loaded(self, **login: str) -> App:
        """Wait until the models are loaded or have failed; `login`: username and password, if required."""
        with self.client() as client:
            if login:
                client.post("/login", data=login).raise_for_status()

            def is_loaded() -> bool:
                return bool(client.get("/multitalk/status").json()["state"] != "loading")

            self._wait(is_loaded)
        return self

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):  # not started, or too busy to answer in time
                if condition():
                    return
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        self._held.let_go()
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class HeldApp(App):
    """An app whose models do not finish loading until the test calls `go_on`."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._sign = folder / "go on"
        hold = str(Path(__file__).with_name("held_loading"))
        paths = os.pathsep.join(filter(None, [hold, os.environ.get("PYTHONPATH")]))
        super().__init__(folder, PYTHONPATH=paths, MODELS_MAY_LOAD=str(self._sign), **environment)

    def go_on(self) -> None:
        self._sign.touch()
