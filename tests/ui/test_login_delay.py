"""Wrong passwords are slowed down; nobody is locked out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from multitalk.ui import login_delay
from multitalk.ui.login_delay import LoginDelay, address_of


class Door:
    """A login with the delay in front, whose waiting is recorded instead of done."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.checked = 0
        self.gate: asyncio.Event | None = None
        self.delay = LoginDelay(self._check, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if self.gate is not None:
            await self.gate.wait()

    async def _check(self, scope: Any, receive: Any, send: Any) -> None:
        self.checked += 1
        await send({"type": "http.response.start", "status": 200 if scope["right"] else 400})

    async def attempt(self, right: bool = False, address: str = "203.0.113.5", path: str = "/login") -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "right": right}
        await self.delay({**scope, "client": (address, 1)}, None, send)  # type: ignore[arg-type]
        return int(sent[0]["status"])


def test_each_wrong_password_doubles_the_next_pause():
    async def guess() -> list[float]:
        door = Door()
        assert [await door.attempt() for _ in range(9)] == [400] * 9
        return door.pauses

    assert asyncio.run(guess()) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_the_right_password_works_after_wrong_ones_and_ends_the_pauses():
    async def mistype() -> list[float]:
        door = Door()
        for right in (False, False, True, True):
            assert await door.attempt(right) == (200 if right else 400)
        return door.pauses

    assert asyncio.run(mistype()) == [0.5, 1.0]


def test_other_addresses_do_not_wait():
    async def guess() -> list[float]:
        door = Door()
        for _ in range(3):
            await door.attempt()
        door.pauses.clear()
        assert await door.attempt(True, "203.0.113.6") == 200
        return door.pauses

    assert asyncio.run(guess()) == []


def test_attempts_at_once_take_turns_and_too_many_are_refused():
    async def guess() -> tuple[list[int], int]:
        door = Door()
        await door.attempt()
        door.gate = asyncio.Event()
        tasks = [asyncio.create_task(door.attempt()) for _ in range(30)]
        while sum(task.done() for task in tasks) < 10:
            await asyncio.sleep(0)
        checked = door.checked
        door.gate.set()
        return [await task for task in tasks], checked

    answers, checked = asyncio.run(guess())
    assert checked == 1, "none is checked before its turn"
    assert sorted(answers) == [400] * 20 + [429] * 10


def test_guesses_from_many_addresses_take_turns():
    async def guess() -> list[float]:
        door = Door()
        for number in range(60):
            await door.attempt(address=f"198.51.100.{number}")
        return door.pauses

    assert asyncio.run(guess()) == [login_delay.TURN_SECONDS] * 10


def test_old_mistakes_are_forgotten(monkeypatch):
    async def come_back() -> list[float]:
        door = Door()
        await door.attempt()
        later = login_delay.time.monotonic() + login_delay.FORGET_SECONDS + 1
        monkeypatch.setattr(login_delay.time, "monotonic", lambda: later)
        await door.attempt()
        return door.pauses

    assert asyncio.run(come_back()) == []


@pytest.mark.parametrize("path", ["/login", "/login/"])
def test_both_paths_of_the_login(path):
    async def guess() -> list[float]:
        door = Door()
        await door.attempt(path=path)
        await door.attempt(path=path)
        await door.attempt(path="/gradio_api/upload")
        return door.pauses

    assert asyncio.run(guess()) == [0.5]


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("203.0.113.5", None, "203.0.113.5"),
        ("8.8.8.8", "1.2.3.4", "8.8.8.8"),
        ("100.64.0.1", "9.9.9.9, 1.2.3.4", "1.2.3.4"),
        ("172.17.0.1", "", "172.17.0.1"),
    ],
)
def test_behind_a_proxy_the_proxy_says_who_asks(client, forwarded, address):
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded.encode())]
    assert address_of({"type": "http", "client": (client, 1), "headers": headers}) == address
