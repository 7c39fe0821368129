"""The SDK's local API (``--rp_serve_api``): stops on a signal, and drops jobs whose caller has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from .log import log_event

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def serve_app(app: App, host: str, port: int, on_stop: Callable[[], None]) -> None:
    """Serve the SDK's app until SIGTERM or SIGINT.

    Args:
        app: The SDK's ASGI app.
        host: Address.
        port: Port.
        on_stop: Called at the first signal, from its handler: cancels the jobs, whose callers get an answer.
    """
    log_event("local_api", url=f"http://{host}:{port}")
    # no log configuration of its own: its lines go through the worker's log
    config = uvicorn.Config(CancelAbandoned(app), host=host, port=port, log_config=None, access_log=False)
    _Server(config, on_stop).run()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        self._on_stop()


class CancelAbandoned:
    """ASGI middleware that cancels a request whose caller has closed the connection.

    Args:
        app: The app.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        messages: asyncio.Queue[Message] = asyncio.Queue()
        answered = abandoned = False

        async def send_and_note(message: Message) -> None:
            nonlocal answered
            answered = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        async def listen() -> None:
            nonlocal abandoned
            while not answered:
                message = await receive()
                messages.put_nowait(message)
                if message["type"] == "http.disconnect":
                    abandoned = not answered
                    if abandoned:
                        work.cancel()
                    return

        work = asyncio.ensure_future(self._app(scope, messages.get, send_and_note))
        listener = asyncio.ensure_future(listen())
        try:
            await work
        except asyncio.CancelledError:
            if not abandoned:
                work.cancel()
                raise
        finally:
            listener.cancel()
