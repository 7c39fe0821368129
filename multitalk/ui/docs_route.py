"""The project's documents as pages, which this page links to: no other host is needed."""

from __future__ import annotations

import itertools
import re
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from .routes import missing

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "NOTICE", "CITATION.cff")
FOLDERS = ("docs", "docs/images", "tests/parity/data")
FORM = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
html {{ background: light-dark(#ffffff, #141211); color: light-dark(#1d1b19, #f3f1ed); }}
body {{ max-width: 860px; margin: 32px auto; padding: 0 20px; font: 16px/1.6 system-ui, sans-serif; }}
table {{ display: block; overflow-x: auto; border-collapse: collapse; }}
th, td {{ border: 1px solid color-mix(in srgb, currentColor 25%, transparent); padding: 5px 10px; }}
pre {{ overflow-x: auto; padding: 12px 14px; background: color-mix(in srgb, currentColor 7%, transparent); }}
a {{ color: light-dark(#a83415, #ffa687); }}
code {{ font-size: 14px; overflow-wrap: anywhere; }} img {{ max-width: 100%; }}
</style></head><body><main>{body}</main></body></html>
"""


def document_link(path: str, title: str) -> str:
    """Return a link to a document; empty if it is not installed."""
    if not _is_document(path):
        return ""
    return f'<a href="multitalk/project/{path}" target="_blank" rel="noopener">{title}</a>'


def document_route() -> Route:
    """Return the route that sends a document, and the pictures in it, under its path in the repository."""
    return Route("/multitalk/project/{path:path}", _send)


def _is_document(path: str) -> bool:
    folder, _, _ = path.rpartition("/")
    return (path in NAMES or folder in FOLDERS) and ".." not in path and (ROOT / path).is_file()


def _send(request: Request) -> Response:
    path = request.path_params["path"]
    if not _is_document(path):
        return missing()
    if path.endswith(".md"):
        return HTMLResponse(render(ROOT / path))
    return FileResponse(ROOT / path, media_type=None if "." in path else "text/plain; charset=utf-8")


def render(path: Path) -> str:
    """Return a Markdown file as an HTML page, with the anchors of its headings."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(path.read_text("utf-8"))
    for heading, words in itertools.pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", re.sub(r"[^\w\- ]", "", words.content.lower()).replace(" ", "-"))
    for token in tokens:
        if token.type in ("fence", "table_open"):  # those that are too wide scroll, also with the keyboard
            token.attrSet("tabindex", "0")
    body = parser.renderer.render(tokens, parser.options, {})
    return FORM.format(title=escape(path.stem), body=body)
