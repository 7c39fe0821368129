"""The project's documents, which the page links to: no other host is needed."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from .routes import missing

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = {path.name: path for path in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md")}


def document_link(name: str, title: str) -> str:
    """Return a link to a document; empty if it is not installed."""
    if name not in DOCUMENTS or not DOCUMENTS[name].is_file():
        return ""
    return f'<a href="multitalk/docs/{name}" target="_blank" rel="noopener">{title}</a>'


def document_route() -> Route:
    """Return the route that sends a document."""
    return Route("/multitalk/docs/{name}", _send)


def _send(request: Request) -> Response:
    path = DOCUMENTS.get(request.path_params["name"])
    if path is None or not path.is_file():
        return missing()
    return FileResponse(path, media_type="text/plain; charset=utf-8", content_disposition_type="inline")
