"""Serves the page: address, login, root path, where results lie."""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidInput
from ..start.cold_start import ColdStart
from .stopping import interrupt_on_signals, leave

if TYPE_CHECKING:
    from .backend import Backend

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
DEFAULT_PORT = 7860
DEFAULT_LIMIT_GB = 10.0
MAX_UPLOAD = "500mb"
STOP_SECONDS = 3.0  # containers are killed ten seconds after they are asked to end
LOGIN_MESSAGE = "This MultiTalk server asks for a name and a password."
logger = logging.getLogger(__name__)


def login() -> tuple[str, str] | None:
    """Name and password from ``UI_USERNAME`` and ``UI_PASSWORD``; None where neither is set.

    Raises:
        InvalidInput: One of them is missing: a page that was meant to be closed isn't opened.
    """
    names = ("UI_USERNAME", "UI_PASSWORD")
    username, password = (os.environ.get(name, "") for name in names)
    if bool(username) != bool(password):
        given, missing = names if username else names[::-1]
        raise InvalidInput(f"{given} is set without {missing}: set both to ask for a login, or neither.")
    return (username, password) if username else None


def gallery_limit() -> int:
    """Bytes of results that are kept, from ``OUTPUT_LIMIT_GB``.

    Raises:
        InvalidInput: It is no number above 0.
    """
    text = os.environ.get("OUTPUT_LIMIT_GB", "").strip()
    try:
        limit = float(text) if text else DEFAULT_LIMIT_GB
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise InvalidInput("OUTPUT_LIMIT_GB must be a number of gigabytes above 0.")
    return int(limit * 1e9)


def listening_place() -> tuple[str, int]:
    """Address and port from ``GRADIO_SERVER_NAME`` and ``GRADIO_SERVER_PORT``.

    Raises:
        InvalidInput: The port is none, or nothing can listen there.
    """
    address = os.environ.get("GRADIO_SERVER_NAME") or LOCAL_NAMES[0]
    text = os.environ.get("GRADIO_SERVER_PORT", str(DEFAULT_PORT))
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) < 2**16):
        raise InvalidInput(f"GRADIO_SERVER_PORT is {text[:40]!r}, but must be a port from 1 to 65535.")
    port = int(text)
    try:
        host = address.removeprefix("[").removesuffix("]")  # as Gradio takes an IPv6 address
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind(place)
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(address, port, getattr(error, "strerror", None) or str(error)) from None
    return address, port


def _cannot_listen(address: str, port: int, reason: str) -> InvalidInput:
    return InvalidInput(
        f"The page can't listen on {address}, port {port}: {reason}. Let GRADIO_SERVER_NAME be an address of "
        "this computer, and GRADIO_SERVER_PORT a port that nothing else uses."
    )


def make_backend(folder: Path, start: ColdStart | None = None) -> Backend:
    """What is behind the page.

    Args:
        folder: For files that go when the server stops.
        start: What keeps the start's time and already reads the weights.

    Raises:
        InvalidInput: A variable can't be used.
    """
    from .access import FileOwners
    from .backend import Backend
    from .estimates import Estimator
    from .gallery import Gallery
    from .jobs import JobQueue
    from .worker import ModelWorker, results_folder

    limit = gallery_limit()
    try:
        gallery = Gallery(results_folder(os.environ.get("OUTPUT_DIR")), limit)
    except OSError as error:
        raise InvalidInput(f"OUTPUT_DIR can't be used: {error.strerror}.") from None
    worker = ModelWorker(
        os.environ.get("MULTITALK_WEIGHTS"), gallery, Estimator(gallery.folder / ".runs.json"), start
    )
    queue = JobQueue(folder / "jobs", worker.load, worker.make)
    return Backend(queue, worker, gallery, FileOwners(), folder)


def serve(start: ColdStart | None = None) -> int:
    """Open the page and serve it until Ctrl-C or SIGTERM, which end the process with status 0.

    Args:
        start: What keeps the start's time and already reads the weights.

    Returns:
        The exit status where the page can't be opened.
    """
    interrupt_on_signals()
    start = start or ColdStart()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        credentials = login()
        address, port = listening_place()
        if credentials is None and address not in LOCAL_NAMES:
            logger.warning(
                "the page listens on %s without a login: set UI_USERNAME and UI_PASSWORD to ask for one",
                address,
            )
        with tempfile.TemporaryDirectory(prefix="multitalk-", ignore_cleanup_errors=True) as name:
            # read when gradio is imported: uploads go with the server, and nothing is sent to anybody
            os.environ["GRADIO_TEMP_DIR"] = str(Path(name) / "uploads")
            os.environ["GRADIO_EXAMPLES_CACHE"] = str(Path(name) / "examples")
            os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
            _serve(make_backend(Path(name), start), address, port, credentials)
    except InvalidInput as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        logger.info("the page is closed")
    leave()


def _serve(backend: Backend, address: str, port: int, credentials: tuple[str, str] | None) -> None:
    from starlette.middleware import Middleware

    from .access import AccessControl
    from .page import build_page, launch_options
    from .routes import PageRoutes

    page = build_page(backend)
    routes = PageRoutes(backend.queue, backend.worker, backend.gallery).routes()
    protection = [Middleware(AccessControl, owners=backend.owners)]
    try:
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
    except OSError as error:
        # somebody took the port meanwhile, or it is an address that Gradio doesn't take
        raise _cannot_listen(address, port, "the server doesn't start there") from error
    logger.info("the page is open on http://%s:%d", address, port)
    # only now: importing the models' libraries would hold up the first visitor's page
    backend.queue.start()
    try:
        threading.Event().wait()  # for a signal
    finally:
        backend.queue.close(STOP_SECONDS)
        page.server.config.timeout_graceful_shutdown = 1  # seconds for what is being answered
        page.close(verbose=False)
