"""Serves the page: address, login, where results lie."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
logger = logging.getLogger(__name__)


def login() -> tuple[str, str] | None:
    """Name and password from ``UI_USERNAME`` and ``UI_PASSWORD``; None where either is missing."""
    username, password = os.environ.get("UI_USERNAME"), os.environ.get("UI_PASSWORD")
    return (username, password) if username and password else None


def serve() -> int:
    """Open the page and serve it until the process is stopped; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    from .page import Page
    from .service import GenerationService

    address = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    port = int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
    credentials = login()
    if credentials is None and address not in LOCAL_NAMES:
        logger.warning(
            "the page listens on %s without a login: set UI_USERNAME and UI_PASSWORD to ask for one", address
        )
    with tempfile.TemporaryDirectory(prefix="multitalk-") as folder:
        service = GenerationService(os.environ.get("MULTITALK_WEIGHTS"), Path(folder))
        service.start_loading()
        page = Page(service).build()
        # Gradio copies a result into its cache before it is served: no folder is opened to browsers
        page.queue().launch(server_name=address, server_port=port, auth=credentials, show_error=True)
    return 0
