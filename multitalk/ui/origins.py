"""Refuse requests under other host names (DNS rebinding), and requests that other websites send."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from ..runtime.environment import parse_value, read_text
from .access import Receive, Scope, Send, answer, route_path

HOST = re.compile(r"\*|(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
DEFAULT_PORTS = {"http": 80, "https": 443}
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
STATIC_FOLDERS = ("/assets/", "/static/", "/svelte/")  # Gradio's own files, which are public
FOREIGN = (
    "This request comes from {}, which is not an address of this page. If you opened the page there, start "
    "the server with ALLOWED_HOSTS={}."
)


@dataclass(frozen=True)
class AllowedHosts:
    """The host names under which the page may be opened; local names are always allowed.

    Otherwise, a website whose name resolves to 127.0.0.1 could use a page that listens only there.

    Attributes:
        names: Names, IP addresses, and ``*.domain`` for all below a domain; None or ``*``: all.
    """

    names: tuple[str, ...] | None = None

    @classmethod
    def from_environment(cls, address: str) -> AllowedHosts:
        """Read ``ALLOWED_HOSTS``; unset, a page that listens on localhost alone has only local names.

        Args:
            address: The address that the page listens on.

        Raises:
            InvalidInput: The variable contains something else than names.
        """
        text, address = read_text("ALLOWED_HOSTS", ""), address.strip("[]")
        if text:  # Gradio checks at its start that the page answers at its address
            return cls((*parse_value("ALLOWED_HOSTS", text, _parse_names), address))
        return cls(()) if is_local(address) else cls()

    def allow(self, name: str) -> bool:
        """Return whether a page may be opened under a name."""
        return self.names is None or "*" in self.names or is_local(name) or self.list(name)

    def list(self, name: str) -> bool:
        """Return whether a name was set in ``ALLOWED_HOSTS``, apart from ``*``."""
        return any(
            name == each or (each.startswith("*.") and name.endswith(each[1:])) for each in self.names or ()
        )


class OriginCheck:
    """ASGI middleware that refuses requests for other hosts, and requests that other websites send.

    Args:
        app: The protected app.
        hosts: The page's names.
    """

    def __init__(self, app: Any, hosts: AllowedHosts) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope), scope)):
            await answer(send, 403, refusal)
        elif scope["type"] != "websocket":  # the page has none
            await self._app(scope, receive, send)

    def _refusal(self, headers: Headers, scope: Scope) -> str | None:
        host = headers.get("host", "")
        name, _ = _split(f"{scope['scheme']}://{host}")
        if not self._hosts.allow(name):
            shown = _shown(name)
            return f"This page is not open under the name {shown}. Add the name to ALLOWED_HOSTS to allow it."
        origin = headers.get("origin")
        if scope["method"] in SAFE_METHODS and origin is None:
            return None  # links and pictures; what they get is not readable for another website
        if scope["method"] in SAFE_METHODS and route_path(scope).startswith(STATIC_FOLDERS):
            return None  # the browser names the page's origin for its scripts
        # browsers send it over https and to localhost, and no proxy changes it
        site = headers.get("sec-fetch-site")
        if site is not None:
            same = site in ("same-origin", "none")
        else:
            same = origin is None or _is_same(origin, host)
        if same or (origin is not None and self._hosts.list(_split(origin)[0])):
            return None
        return FOREIGN.format(*[_shown(_split(origin or "")[0]) or "another website"] * 2)


def is_local(name: str) -> bool:
    """Return whether a host name or address can only mean this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _shown(name: str) -> str:
    return re.sub(r"[^\w.:-]", "", name)[:80]


def _is_same(origin: str, host: str) -> bool:
    """Return whether an Origin header names the host; the scheme may differ behind a proxy."""
    scheme = origin.partition(":")[0]
    place = _split(origin)
    return bool(place[0]) and place == _split(f"{scheme}://{host}")


def _split(url: str) -> tuple[str, int | None]:
    """Return the host name and port of a URL; an empty name if it is invalid."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").rstrip("."), parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return "", None


def _parse_names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip().strip("[]").lower() for part in text.split(",") if part.strip())
    for name in names:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            if not HOST.fullmatch(name):
                raise ValueError("host names, such as example.com,*.example.org") from None
    return names
