"""Fixtures: a small baked checkpoint with a small Kokoro, and a blocked network."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multitalk.bake.bake import bake
from multitalk.speech.kokoro import KokoroEngine
from multitalk.speech.speak import choose_engine
from tests.small_checkpoint import make_small_checkpoint
from tests.small_kokoro import make_small_kokoro


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_small_checkpoint(tmp_path_factory.mktemp("speech") / "published")
    make_small_kokoro(root)
    return root


@pytest.fixture(scope="session")
def baked(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("speech") / "baked"
    bake(published, target, precision="float32")
    return target


@pytest.fixture(scope="session")
def kokoro(baked: Path) -> KokoroEngine:
    engine = choose_engine(baked, "cpu")
    assert isinstance(engine, KokoroEngine)
    return engine


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Block the network, and fail the test on any attempt to use it, even if the caller catches the error.

    Attempts of threads that other tests have left running are blocked, but do not fail the test. Speech runs
    on the caller's thread and keeps no thread pool, so none of its attempts are missed.
    """
    attempts: list[str] = []
    others = {*threading.enumerate()} - {threading.main_thread(), threading.current_thread()}

    def refuse(*arguments: Any, **options: Any) -> Any:
        if threading.current_thread() not in others:
            attempts.append(repr(arguments[-1:]))
        raise OSError("this test has no network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    yield
    assert not attempts
