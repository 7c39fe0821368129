"""A proxy that puts the app under a path, as hosters do."""

from __future__ import annotations

import asyncio
import threading

from aiohttp import ClientSession, web

from tests.ui.app import free_port

KEPT_BACK = {"transfer-encoding", "content-encoding", "content-length", "connection"}


class Proxy:
    """Passes ``PREFIX/...`` on to an app's port without the prefix."""

    def __init__(self, port: int, prefix: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._target, self._prefix = f"http://127.0.0.1:{port}", prefix
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()

    async def _start(self) -> None:
        self._session = ClientSession(auto_decompress=True)
        app = web.Application(client_max_size=10**8)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if not request.raw_path.startswith(self._prefix + "/"):
            return web.Response(status=418)
        url = self._target + request.raw_path.removeprefix(self._prefix)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        body = await request.read()
        async with self._session.request(
            request.method, url, data=body, headers=headers, allow_redirects=False
        ) as answer:
            kept = [(n, v) for n, v in answer.headers.items() if n.lower() not in KEPT_BACK]
            response = web.StreamResponse(status=answer.status)
            for name, value in kept:
                response.headers.add(name, value)
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
            await response.write_eof()
            return response
