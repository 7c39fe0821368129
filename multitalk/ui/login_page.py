"""The login page, in place of Gradio's, and logging out."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from ..patches.gradio import forget_login, is_logged_in
from .access import Receive, Scope, Send, route_path
from .parts import asset


class LoginPage:
    """ASGI middleware that sends the login page in place of the page to a browser that is not logged in.

    Args:
        app: The protected app.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and scope["method"] == "GET" and route_path(scope) in ("", "/"):
            request = Request(scope)
            if not is_logged_in(request.app, request.cookies):
                page = HTMLResponse(asset("login.html"), headers={"Cache-Control": "no-store"})
                await page(scope, receive, send)
                return
        await self._app(scope, receive, send)


def logout_route() -> Route:
    """Return the route that logs a browser out; its other sessions are kept."""
    return Route("/logout", _log_out)


def _log_out(request: Request) -> Response:
    answer = RedirectResponse("./", status_code=302)  # relative: a proxy may add a root path
    for cookie in forget_login(request.app, request.cookies):
        answer.delete_cookie(cookie, path="/")
    return answer
