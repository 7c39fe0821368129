"""Serves the page: address, login, root path, where results lie."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..cold_start import ColdStart

if TYPE_CHECKING:
    from .backend import Backend

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
DEFAULT_LIMIT_GB = 10.0
MAX_UPLOAD = "500mb"
LOGIN_MESSAGE = "This MultiTalk server asks for a name and a password."
logger = logging.getLogger(__name__)


def login() -> tuple[str, str] | None:
    """Name and password from ``UI_USERNAME`` and ``UI_PASSWORD``; None where either is missing."""
    username, password = os.environ.get("UI_USERNAME"), os.environ.get("UI_PASSWORD")
    return (username, password) if username and password else None


def gallery_limit() -> int:
    """Bytes of results that are kept, from ``OUTPUT_LIMIT_GB``.

    Raises:
        ValueError: It is no number above 0.
    """
    text = os.environ.get("OUTPUT_LIMIT_GB", "").strip()
    limit = float(text) if text else DEFAULT_LIMIT_GB
    if not 0 < limit < float("inf"):
        raise ValueError(text)
    return int(limit * 1e9)


def make_backend(folder: Path, start: ColdStart | None = None) -> Backend:
    """What is behind the page.

    Args:
        folder: For files that go when the server stops.
        start: What keeps the start's time and already reads the weights.
    """
    from .access import FileOwners
    from .backend import Backend
    from .estimates import Estimator
    from .gallery import Gallery
    from .jobs import JobQueue
    from .worker import ModelWorker, results_folder

    gallery = Gallery(results_folder(os.environ.get("OUTPUT_DIR")), gallery_limit())
    worker = ModelWorker(
        os.environ.get("MULTITALK_WEIGHTS"), gallery, Estimator(gallery.folder / ".runs.json"), start
    )
    queue = JobQueue(folder / "jobs", worker.load, worker.make)
    return Backend(queue, worker, gallery, FileOwners(), folder)


def serve(start: ColdStart | None = None) -> int:
    """Open the page and serve it until the process is stopped; returns the exit status.

    Args:
        start: What keeps the start's time and already reads the weights.
    """
    start = start or ColdStart()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    address = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    port = int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
    credentials = login()
    if credentials is None and address not in LOCAL_NAMES:
        logger.warning(
            "the page listens on %s without a login: set UI_USERNAME and UI_PASSWORD to ask for one", address
        )
    with tempfile.TemporaryDirectory(prefix="multitalk-", ignore_cleanup_errors=True) as name:
        # read when gradio is imported: uploads go with the server, and nothing is sent to anybody
        os.environ["GRADIO_TEMP_DIR"] = str(Path(name) / "uploads")
        os.environ["GRADIO_EXAMPLES_CACHE"] = str(Path(name) / "examples")
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        try:
            backend = make_backend(Path(name), start)
        except ValueError:
            print("OUTPUT_LIMIT_GB must be a number of gigabytes above 0.", file=sys.stderr)
            return 2
        except OSError as error:
            print(f"OUTPUT_DIR can't be used: {error.strerror}.", file=sys.stderr)
            return 2
        _serve(backend, address, port, credentials)
    return 0


def _serve(backend: Backend, address: str, port: int, credentials: tuple[str, str] | None) -> None:
    from starlette.middleware import Middleware

    from .access import AccessControl
    from .page import build_page, launch_options
    from .routes import PageRoutes

    page = build_page(backend)
    routes = PageRoutes(backend.queue, backend.worker, backend.gallery).routes()
    protection = [Middleware(AccessControl, owners=backend.owners)]
    page.queue(default_concurrency_limit=4).launch(
        server_name=address,
        server_port=port,
        auth=credentials,
        auth_message=LOGIN_MESSAGE,
        max_file_size=MAX_UPLOAD,
        show_error=True,
        quiet=True,
        prevent_thread_lock=True,
        app_kwargs={"routes": routes, "middleware": protection},
        **launch_options(),
    )
    logger.info("the page is open on http://%s:%d", address, port)
    # only now: importing the models' libraries would hold up the first visitor's page
    backend.queue.start()
    page.block_thread()
