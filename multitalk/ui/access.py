"""Who may see what: every browser has a cookie, and files belong to the browser that brought or made them."""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NoReturn
from urllib.parse import unquote

from starlette.requests import cookie_parser

COOKIE = "multitalk_browser"
COOKIE_SECONDS = 365 * 24 * 3600
TOKEN = re.compile(r"[\w-]{43}", re.ASCII)
# What a browser needs to show the login form; the rest of the server is behind the login.
OPEN_PATHS = frozenset(
    (
        *("/", "/login", "/login/", "/logout", "/theme.css", "/gradio_api/theme.css", "/manifest.json"),
        *("/favicon.ico", "/robots.txt", "/gradio_api/startup-events"),
    )
)
OPEN_FOLDERS = ("/assets/", "/static/", "/svelte/")
# Gradio's own doors that this page has no use for: fetching addresses, editing code, statistics.
CLOSED = re.compile(
    r"/(gradio_api/)?(proxy=|vibe|undo-vibe|deep_link|process_recording|monitoring|dev/|runs)"
)
FILE = re.compile(r"/(?:gradio_api/)?file(?:=|/)(.*)", re.DOTALL)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def close_fetching() -> None:
    """Keep Gradio from fetching addresses that are given as files.

    Any file input takes {"path": "https://..."}, and Gradio then reads all that the address sends, unpacked,
    without a limit: a small file can fill this server's memory and disk. Gradio has no setting against it,
    but looks both functions up by these names at every call. For the whole process; called when the page is
    built.
    """
    import gradio as gr
    from gradio import processing_utils

    sentence = "Addresses aren't fetched here: upload the file."

    async def refuse_async(url: str, cache_dir: str) -> NoReturn:
        raise gr.Error(sentence, print_exception=False)

    def refuse(url: str, cache_dir: str) -> NoReturn:
        raise gr.Error(sentence, print_exception=False)

    processing_utils.async_ssrf_protected_download = refuse_async
    processing_utils.ssrf_protected_download = processing_utils.save_url_to_cache = refuse


class FileOwners:
    """Which browsers may fetch and use which files of Gradio's folder; nobody else may."""

    def __init__(self) -> None:
        self._owners: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def add(self, path: str, browser: str) -> None:
        """Let a browser have a file."""
        with self._lock:
            self._owners.setdefault(os.path.abspath(path), set()).add(browser)

    def has(self, path: str, browser: str) -> bool:
        """Whether a browser may have a file."""
        with self._lock:
            return browser in self._owners.get(os.path.abspath(path), ())


class AccessControl:
    """ASGI middleware: gives browsers their cookie, and refuses what isn't theirs.

    Args:
        app: What is protected.
        owners: Files and whose they are; uploads are added here.
    """

    def __init__(self, app: Any, owners: FileOwners) -> None:
        self._app, self._owners = app, owners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cookies = read_cookies(scope)
        browser = cookies.get(COOKIE, "")
        if not TOKEN.fullmatch(browser):
            browser = secrets.token_urlsafe(32)
            scope = {**scope, "headers": [*scope["headers"], (b"cookie", f"{COOKIE}={browser}".encode())]}
            send = _setting_cookie(send, browser, _is_https(scope))
        path = route_path(scope)
        if refusal := self._refusal(scope, path, cookies, browser):
            await _answer(send, *refusal)
            return
        if path.rstrip("/").endswith("/upload") and scope["method"] == "POST":
            send = self._noting_uploads(send, browser)
        await self._app(scope, receive, send)

    def _refusal(
        self, scope: Scope, path: str, cookies: dict[str, str], browser: str
    ) -> tuple[int, str] | None:
        """Status and sentence where a request is refused."""
        if CLOSED.match(path):
            return 404, "There is nothing here."
        if _needs_login(scope["app"], path, cookies):
            return 401, "Log in first."
        file = FILE.match(path)
        # only what was registered, by its full name: no pattern of a path can reach anything else
        if file and ("://" in file[1] or not self._owners.has(unquote(file[1]), browser)):
            return 403, "This file isn't yours."
        return None

    def _noting_uploads(self, send: Send, browser: str) -> Send:
        """Remember whose the files are that Gradio says it has stored."""
        body = bytearray()

        async def note(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    try:
                        stored = json.loads(bytes(body))
                    except ValueError:  # an error page
                        stored = []
                    for path in stored if isinstance(stored, list) else []:
                        self._owners.add(str(path), browser)
            await send(message)

        return note


def browser_of(request: Any) -> str:
    """The browser a request comes from: Gradio's request or Starlette's.

    Behind `AccessControl` every request has a cookie. Where one hasn't, its address stands for it.
    """
    if cookie := request.cookies.get(COOKIE):
        return str(cookie)
    return f"address {request.client.host}" if request.client else ""


def route_path(scope: Scope) -> str:
    """A request's path as the routes see it: without ``GRADIO_ROOT_PATH``, which a proxy may have left on."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    while root and path.startswith(f"{root}/"):
        path = path[len(root) :]
    return path


def read_cookies(scope: Scope) -> dict[str, str]:
    """A request's cookies, read as Starlette reads them: other programs of this host set any."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name == b"cookie":
            found |= cookie_parser(value.decode("latin-1"))
    return found


def _needs_login(app: Any, path: str, cookies: dict[str, str]) -> bool:
    if app.auth is None or path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
        return False
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return not any(cookies.get(name) in app.tokens for name in names)


def _is_https(scope: Scope) -> bool:
    forwarded = dict(scope["headers"]).get(b"x-forwarded-proto", b"")
    return bool(scope.get("scheme") == "https" or forwarded.split(b",")[0].strip() == b"https")


def _setting_cookie(send: Send, browser: str, secure: bool) -> Send:
    cookie = f"{COOKIE}={browser}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax"
    header = (b"set-cookie", (cookie + ("; Secure" if secure else "")).encode())

    async def add(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), header]}
        await send(message)

    return add


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
