"""Start the page: environment variables, login, and the web server."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from ..errors import InvalidInput, MultiTalkError
from ..marks.settings import check_marks
from ..patches.imports import narrow_gradio
from ..runtime.environment import parse_value, read_number, read_secret, read_text, set_variables
from ..runtime.process_memory import return_large_blocks
from ..runtime.temporary_folders import remove_abandoned_folders, temporary_folder
from ..start.cold_start import ColdStart, quick_imports

if TYPE_CHECKING:
    from .backend import Backend
    from .sharing import Sharing

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
DEFAULT_PORT = 7860
DEFAULT_LIMIT_GB = 10.0
UPLOADS = "uploads"  # in the temporary folder
JOBS = ".jobs"  # in the folder of results: jobs that survive a restart
CLEANING_SECONDS = 900.0  # between two searches for old uploads
STOP_SECONDS = 3.0  # containers are killed ten seconds after SIGTERM
logger = logging.getLogger(__name__)


def login() -> tuple[str, str] | None:
    """Read the user name and password from ``UI_USERNAME`` and ``UI_PASSWORD``; None if both are unset.

    Raises:
        InvalidInput: Only one of them is set: a page that should be protected is not opened.
    """
    username, password = read_secret("UI_USERNAME"), read_secret("UI_PASSWORD")
    if bool(username) != bool(password):
        present, missing = ("UI_USERNAME", "UI_PASSWORD") if username else ("UI_PASSWORD", "UI_USERNAME")
        raise InvalidInput(f"{present} is set without {missing}. Set both to require a login, or neither.")
    return (username, password) if username else None


def listening_address() -> tuple[str, int]:
    """Read address and port from ``GRADIO_SERVER_NAME`` and ``GRADIO_SERVER_PORT``.

    Raises:
        InvalidInput: The port is invalid, or a server cannot listen there.
    """
    address = read_text("GRADIO_SERVER_NAME", LOCAL_NAMES[0])
    port = parse_value("GRADIO_SERVER_PORT", read_text("GRADIO_SERVER_PORT", str(DEFAULT_PORT)), _parse_port)
    try:
        host = address.removeprefix("[").removesuffix("]")  # Gradio's form of an IPv6 address
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind(place)
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(address, port, getattr(error, "strerror", None) or str(error)) from None
    return address, port


def _parse_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) < 2**16):
        raise ValueError("a port from 1 to 65535")
    return int(text)


def _cannot_listen(address: str, port: int, reason: str) -> InvalidInput:
    return InvalidInput(
        f"Cannot listen on {address}, port {port}: {reason}. Set GRADIO_SERVER_NAME to an address of this "
        "machine, and GRADIO_SERVER_PORT to a free port."
    )


def make_backend(folder: Path, start: ColdStart | None = None, sharing: Sharing | None = None) -> Backend:
    """Create the queue, the model worker and the gallery.

    Args:
        folder: Folder of temporary files, deleted when the server stops.
        start: Startup record that already reads the weights.
        sharing: Who may see and delete which results; None: everybody sees all.

    Raises:
        InvalidInput: An environment variable is invalid.
    """
    from .backend import Backend
    from .estimates import Estimator
    from .gallery import Gallery
    from .job_store import JobStore
    from .jobs import JobQueue
    from .long_jobs import ASK_ABOVE_MINUTES
    from .sharing import Sharing
    from .uploaded_files import GB, FileOwners, limits_from_environment
    from .worker import ModelWorker

    ask_above = read_number("ASK_ABOVE_MINUTES", ASK_ABOVE_MINUTES, "minutes")
    limit = read_number("OUTPUT_LIMIT_GB", DEFAULT_LIMIT_GB, "gigabytes") * GB
    owners = FileOwners(limits_from_environment())
    results = read_text("OUTPUT_DIR", "outputs")
    try:
        gallery = Gallery(Path(results).resolve(), limit)
    except OSError as error:
        raise InvalidInput(f"OUTPUT_DIR cannot be used ({results}): {error.strerror}.") from None
    worker = ModelWorker(None, gallery, Estimator(gallery.folder / ".runs.json"), start)
    store = JobStore(gallery.folder / JOBS, temporary=folder)
    queue = JobQueue(folder / "jobs", worker.load, worker.generate, store=store, uploads=folder / UPLOADS)
    return Backend(queue, worker, gallery, owners, folder, sharing or Sharing(), ask_above)


def serve(start: ColdStart | None = None) -> int:
    """Open the page and serve it until Ctrl-C or SIGTERM, which end the process with status 0.

    Args:
        start: Startup record that already reads the weights.

    Returns:
        The exit status if the page cannot be opened.
    """
    interrupt_on_signals()
    return_large_blocks()
    start = start or ColdStart()
    threading.Thread(target=remove_abandoned_folders, daemon=True).start()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        check_marks()
        credentials = login()
        address, port = listening_address()
        if credentials is None and address not in LOCAL_NAMES:
            logger.warning(
                "listening on %s without a login; set UI_USERNAME and UI_PASSWORD to require one", address
            )
        with temporary_folder("page") as folder:
            # Gradio reads these when it is imported: uploads are deleted with the folder, no telemetry is
            # sent, and a blank port would be an error
            set_variables(
                GRADIO_TEMP_DIR=str(folder / UPLOADS),
                GRADIO_EXAMPLES_CACHE=str(folder / "examples"),
                GRADIO_ANALYTICS_ENABLED="False",
                GRADIO_SERVER_PORT=str(port),
            )
            import_gradio()
            from .sharing import read_sharing

            sharing = read_sharing(credentials is not None, address in LOCAL_NAMES)
            _serve(make_backend(folder, start, sharing), address, port, credentials)
    except MultiTalkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        logger.info("page closed")
    leave()


def import_gradio() -> None:
    """Import Gradio without what the page does not need, which halves the time to the first page."""
    with quick_imports(), narrow_gradio():
        import gradio  # noqa: F401


def _serve(backend: Backend, address: str, port: int, credentials: tuple[str, str] | None) -> None:
    from starlette.middleware import Middleware

    from ..patches.gradio import poll_queue, set_shutdown_timeout
    from .access import AccessControl
    from .docs_route import document_route
    from .gallery_routes import GalleryRoutes
    from .login_delay import LoginDelay
    from .login_page import LoginPage, logout_route
    from .lora_route import LoraRoute
    from .origins import AllowedHosts, OriginCheck
    from .page import build_page, launch_options
    from .routes import PageRoutes
    from .uploads import MAX_FILE, BodyLimit, UploadRoute

    page = build_page(backend)
    routes = PageRoutes(backend.queue, backend.worker, backend.gallery).routes()
    routes += GalleryRoutes(backend.gallery, backend.sharing).routes()
    routes += LoraRoute(backend.worker, backend.owners).routes()
    routes += [logout_route(), document_route(), *UploadRoute(backend.owners).routes()]
    protection = [
        Middleware(OriginCheck, hosts=AllowedHosts.from_environment(address)),
        Middleware(LoginDelay),
        Middleware(BodyLimit),
        Middleware(AccessControl, owners=backend.owners),
        Middleware(LoginPage),
    ]
    try:
        page.queue(default_concurrency_limit=4).launch(
            server_name=address,
            server_port=port,
            auth=credentials,
            max_file_size=MAX_FILE,
            show_error=True,
            quiet=True,
            prevent_thread_lock=True,
            app_kwargs={"routes": routes, "middleware": protection},
            **launch_options(),
        )
    except OSError as error:
        # another process has taken the port, or Gradio does not support the address
        raise _cannot_listen(address, port, "the server does not start") from error
    poll_queue(page, 0.02)
    logger.info("page open at http://%s:%d", address, port)
    # only now: importing the models' libraries delays the first page load
    backend.queue.start()
    try:
        while True:  # until a signal raises KeyboardInterrupt
            time.sleep(CLEANING_SECONDS)
            backend.owners.delete_old()
    finally:
        backend.queue.close(STOP_SECONDS)
        set_shutdown_timeout(page, 1)
        page.close(verbose=False)


SIGNALS = (signal.SIGINT, signal.SIGTERM)


def interrupt_on_signals() -> None:
    """Raise KeyboardInterrupt in the main thread on the first Ctrl-C or SIGTERM; for the whole process."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored in background processes
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:  # a second signal would interrupt the cleanup
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def leave() -> NoReturn:
    """End the process with status 0 without joining its threads.

    A thread may wait for minutes for the models, and one that returns from a model call during Python's
    shutdown crashes the process.
    """
    atexit._run_exitfuncs()  # deletes temporary files of libraries and of espeak-ng
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
