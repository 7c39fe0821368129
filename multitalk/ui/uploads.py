"""The route that receives uploads: within limits, and without half-written files."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..patches.gradio import UPLOAD_PATH, UploadInvalid, receive_upload, upload_folder
from .access import Receive, Scope, Send, answer, browser_of, route_path
from .uploaded_files import FileOwners, NoRoom

MAX_FILE = 500 * 10**6  # bytes
MAX_BODY = 16 * 10**6  # bytes of a request that is no upload
STEP = 1 << 20  # bytes between two checks of the limits
# So much of a refused upload is still read: browsers show an answer only after they have sent their request.
MAX_DISCARDED = 2 * MAX_FILE
TOO_LARGE = f"The file is larger than {MAX_FILE // 10**6} MB. Use a smaller file."
UNREADABLE = "The upload is incomplete or cannot be read. Try again."
DISK_FULL = "The disk of this server is full. Try again later."


class UploadRoute:
    """Gradio's upload route, with limits.

    Args:
        owners: The files and their owners; uploads are added.
    """

    def __init__(self, owners: FileOwners) -> None:
        self._owners = owners

    def routes(self) -> list[Route]:
        """Return the routes, which take precedence over Gradio's own."""
        return [Route(path, self.upload, methods=["POST"]) for path in (UPLOAD_PATH, f"{UPLOAD_PATH}/")]

    async def upload(self, request: Request) -> Response:
        """Store the files of a request; return their paths, or a sentence."""
        body = _Body(request.receive)
        try:
            return JSONResponse(await self._store(request, body))
        except ClientDisconnect:
            return Response()
        except NoRoom as error:
            status, message = error.status, str(error)
        except UploadInvalid as error:
            status, message = (413, TOO_LARGE) if error.too_large else (400, UNREADABLE)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            status, message = 507, DISK_FULL
        await body.discard()
        return PlainTextResponse(message, status)

    async def _store(self, request: Request, body: _Body) -> list[str]:
        browser, target = browser_of(request), Path(upload_folder())
        target.mkdir(parents=True, exist_ok=True)
        self._owners.check_room(browser, _declared_size(request.headers), target)
        # everything is written to a folder of its own, which is deleted whatever happens
        with (
            tempfile.TemporaryDirectory(prefix="incoming-", dir=target) as incoming,
            self._owners.receiving(browser, target) as admit,
        ):
            body.admit = admit
            stored = []
            for path in await receive_upload(Request(request.scope, body.receive), incoming, MAX_FILE):
                final = target / Path(path).relative_to(incoming)
                final.parent.mkdir(exist_ok=True)
                if Path(path).exists():  # else the same content under the same name, moved already
                    os.replace(path, final)
                self._owners.add(str(final), browser)
                stored.append(str(final))
            return stored


class _Body:
    """The body of an upload, whose bytes are admitted before they are parsed.

    Args:
        receive: The request's messages.

    Attributes:
        admit: Admits a number of bytes, or raises `NoRoom`.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive, self._counted, self._is_over = receive, 0, False
        self.admit: Callable[[int], None] = lambda size: None

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the next message."""
        message = await self._receive()
        self._is_over = not message.get("more_body")  # also if the caller has gone
        self._counted += len(message.get("body", b""))
        if self._counted >= STEP or self._is_over:
            size, self._counted = self._counted, 0
            self.admit(size)
        return message

    async def discard(self) -> None:
        """Read the rest of a refused upload, within limits."""
        discarded, self.admit = 0, lambda size: None
        while not self._is_over and discarded < MAX_DISCARDED:
            discarded += len((await self.receive()).get("body", b""))


def _declared_size(headers: Headers) -> int:
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


class BodyLimit:
    """ASGI middleware that limits the body of all requests except uploads, which Gradio keeps in memory.

    Args:
        app: The protected app.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or route_path(scope).rstrip("/") == UPLOAD_PATH:
            await self._app(scope, receive, send)
            return
        if _declared_size(Headers(scope=scope)) > MAX_BODY:
            await answer(send, 413, "The request is too large. Upload files first.")
            return
        size = 0

        async def receive_limited() -> Any:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            return message if size <= MAX_BODY else {"type": "http.disconnect"}

        await self._app(scope, receive_limited, send)
