"""Gradio's client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from gradio_client import Client

from tests.ui.app import ANSWER_SECONDS, App


@contextlib.contextmanager
def connected(app: App) -> Iterator[Client]:
    """Connect a client, and close it at the end."""
    client = Client(app.url, verbose=False, httpx_kwargs={"timeout": ANSWER_SECONDS})
    try:
        yield client
    finally:
        client.close()
