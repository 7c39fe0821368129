"""A proxy that serves the app under a path, as hosting services do."""

from __future__ import annotations

import asyncio
import threading

from aiohttp import ClientSession, web

DROPPED = {"transfer-encoding", "content-encoding", "content-length", "connection"}


class Proxy:
    """Forwards ``PREFIX/...`` to an app's port without the prefix."""

    def __init__(self, port: int, prefix: str) -> None:
        self._target, self._prefix = f"http://127.0.0.1:{port}", prefix
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(60)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(60)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=10**8)
        app.router.add_route("*", "/{path:.*}", self._forward)
        # pages keep connections open: they have a second to close at the end
        runner = web.AppRunner(app, shutdown_timeout=1)
        async with ClientSession(auto_decompress=True) as self._session:
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
                self._ready.set()
                await self._stopped.wait()
            finally:
                await runner.cleanup()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        if not request.raw_path.startswith(self._prefix + "/"):
            return web.Response(status=418)
        url = self._target + request.raw_path.removeprefix(self._prefix)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        body = await request.read()
        async with self._session.request(
            request.method, url, data=body, headers=headers, allow_redirects=False
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in DROPPED:
                    response.headers.add(name, value)
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
            await response.write_eof()
            return response
