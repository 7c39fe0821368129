"""Access control: a cookie or token identifies each browser, which may read only its own files."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from starlette.requests import HTTPConnection

from ..patches.gradio import FILE_ROUTE, LOGIN_PATHS, UNUSED_ROUTES, is_logged_in
from .uploaded_files import FileOwners

COOKIE = "multitalk_browser"
TOKEN_HEADER = "X-MultiTalk-Token"  # instead of the cookie, for programs that do not keep cookies
COOKIE_SECONDS = 365 * 24 * 3600
TOKEN = re.compile(r"[\w-]{43}", re.ASCII)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class AccessControl:
    """ASGI middleware that sets the browser cookie and rejects requests for other browsers' files.

    Args:
        app: The protected app.
        owners: Owners of the files.
    """

    def __init__(self, app: Any, owners: FileOwners) -> None:
        self._app, self._owners = app, owners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        cookies = connection.cookies
        browser, token = cookies.get(COOKIE, ""), connection.headers.get(TOKEN_HEADER)
        if token is not None and not TOKEN.fullmatch(token):
            await answer(send, 400, f"{TOKEN_HEADER} must be 32 random bytes in URL-safe base64, 43 letters.")
            return
        if token is not None or not TOKEN.fullmatch(browser):
            browser = token or secrets.token_urlsafe(32)
            # the last cookie of a name counts
            scope = {**scope, "headers": [*scope["headers"], (b"cookie", f"{COOKIE}={browser}".encode())]}
            if token is None:
                send = _set_cookie(send, browser, _is_https(scope))
        path = route_path(scope)
        if refusal := self._refusal(scope, path, cookies, browser):
            await answer(send, *refusal)
            return
        await self._app(scope, receive, send)

    def _refusal(
        self, scope: Scope, path: str, cookies: dict[str, str], browser: str
    ) -> tuple[int, str] | None:
        """Return status and message if a request is refused."""
        if UNUSED_ROUTES.match(path):
            return 404, "Not found."
        if path not in LOGIN_PATHS and not is_logged_in(scope["app"], cookies):
            return 401, "Log in first."
        file = FILE_ROUTE.match(path)
        # only registered files, by their full path: no pattern in a path can reach another file
        if file and ("://" in file[1] or not self._owners.has(unquote(file[1]), browser)):
            return 403, "This file belongs to another browser."
        return None


def browser_of(request: Any) -> str:
    """Return the browser that sent a request of Gradio or Starlette.

    `AccessControl` gives every request a cookie. A request without one is identified by its address.
    """
    if cookie := request.cookies.get(COOKIE):
        return str(cookie)
    return f"address {request.client.host}" if request.client else ""


def route_path(scope: Scope) -> str:
    """Return the path that is routed: without ``GRADIO_ROOT_PATH``, which some proxies do not remove."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    while root and path.startswith(f"{root}/"):
        path = path[len(root) :]
    return path


def _is_https(scope: Scope) -> bool:
    forwarded = dict(scope["headers"]).get(b"x-forwarded-proto", b"")
    return bool(scope.get("scheme") == "https" or forwarded.split(b",")[0].strip() == b"https")


def _set_cookie(send: Send, browser: str, secure: bool) -> Send:
    cookie = f"{COOKIE}={browser}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax"
    header = (b"set-cookie", (cookie + ("; Secure" if secure else "")).encode())

    async def add(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), header]}
        await send(message)

    return add


async def answer(send: Send, status: int, message: str) -> None:
    """Answer a request with a status and a sentence."""
    body = json.dumps({"detail": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
