"""The real app as a process, and what a test does with its page."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
ARTIFACTS = ROOT / "tests" / "artifacts"
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run", "--autoplay-policy=no-user-gesture-required"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class App:
    """``python app.py`` on a port of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.outputs = folder / "outputs"
        self.log = folder / "log.txt"
        given = {key: value for key, value in os.environ.items() if not key.startswith(("GRADIO_", "UI_"))}
        given |= {"GRADIO_SERVER_PORT": str(self.port), "OUTPUT_DIR": str(self.outputs), "MODE": "ui"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "app.py")],
                cwd=ROOT,
                env=given | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_open(self, path: str = "/robots.txt") -> App:
        for _ in range(600):
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(self.url + path).status_code < 500:
                    return self
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def wait_listening(self, address: str) -> App:
        """Wait for an app that listens on another address than this host's first."""
        self.url = f"http://{address}:{self.port}"
        return self.wait_open()

    def wait_loaded(self) -> App:
        for _ in range(1200):
            if httpx.get(f"{self.url}/multitalk/status").json()["state"] != "loading":
                return self
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
