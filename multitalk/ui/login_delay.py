"""Slow down wrong passwords: each one from an address delays the next attempt from there."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers

from .access import Receive, Scope, Send, answer, route_path

LOGIN = "/login"
WRONG = 400  # Gradio's status for a wrong name or password
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds; doubled with each wrong password
FORGET_SECONDS = 900.0  # after the last wrong password
# With so many recent wrong passwords in total, all attempts take turns, since an attacker has many addresses.
MANY, TURN_SECONDS = 50, 1.0
MAX_WAITING = 20  # attempts of one address that wait for their turn
BUSY = "Too many wrong passwords. Wait a minute, and try again."

Sleep = Callable[[float], Awaitable[None]]


class _Attempts:
    """The attempts of one address, or of all."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.waiting = 0
        self.wrong = 0
        self.last = time.monotonic()


class LoginDelay:
    """ASGI middleware that delays attempts to log in.

    Args:
        app: The protected app.
        sleep: Waits for some seconds.
    """

    def __init__(self, app: Any, sleep: Sleep = asyncio.sleep) -> None:
        self._app, self._sleep = app, sleep
        self._by_address: dict[str, _Attempts] = {}
        self._all = _Attempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        is_login = scope["type"] == "http" and scope["method"] == "POST"
        if not is_login or route_path(scope).rstrip("/") != LOGIN:
            await self._app(scope, receive, send)
            return
        self._forget_old()
        attempts = self._by_address.setdefault(address_of(scope), _Attempts())
        if attempts.waiting >= MAX_WAITING:
            await answer(send, 429, BUSY)
            return
        attempts.waiting += 1
        try:
            async with attempts.turn:
                await self._attempt(scope, receive, send, attempts)
        finally:
            attempts.waiting -= 1

    async def _attempt(self, scope: Scope, receive: Receive, send: Send, attempts: _Attempts) -> None:
        if attempts.wrong:
            await self._sleep(min(FIRST_DELAY * 2 ** (attempts.wrong - 1), LONGEST_DELAY))
        if self._all.wrong >= MANY:
            async with self._all.turn:
                await self._sleep(TURN_SECONDS)
        status = 0

        async def note_status(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self._app(scope, receive, note_status)
        if status == WRONG:
            for each in (attempts, self._all):
                each.wrong += 1
                each.last = time.monotonic()
        else:
            attempts.wrong = 0

    def _forget_old(self) -> None:
        limit = time.monotonic() - FORGET_SECONDS
        self._by_address = {
            address: attempts
            for address, attempts in self._by_address.items()
            if attempts.waiting or attempts.last > limit
        }
        if self._all.last < limit:
            self._all.wrong = 0


def address_of(scope: Scope) -> str:
    """Return the address that a request comes from; behind a proxy, what the proxy says."""
    address = str((scope.get("client") or ("",))[0])
    forwarded = Headers(scope=scope).get("x-forwarded-for", "").rpartition(",")[2].strip()
    try:
        # a proxy has an address in our network; others could write anything into the header
        is_proxy = not ipaddress.ip_address(address).is_global
    except ValueError:
        is_proxy = False
    return forwarded[:100] if is_proxy and forwarded else address
