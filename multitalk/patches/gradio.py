"""Gradio: closed routes, uploads, downloads, errors, login state, temporary files, queue and shutdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

PINNED = {"gradio": ("6.31.0",), "uvicorn": ("0.54.0",)}

# Routes that are open without a login: the login page, and what Gradio requests from itself when it starts.
LOGIN_PATHS = frozenset(
    ("/", "/login", "/login/", "/logout", "/favicon.ico", "/robots.txt", "/gradio_api/startup-events")
)
# Routes that the page does not use: fetching URLs, editing code, statistics, and more uploads.
UNUSED_ROUTES = re.compile(
    r"/(gradio_api/)?"
    r"(proxy=|vibe|undo-vibe|deep_link|process_recording|component_server|monitoring|dev/|runs)"
)
UPLOAD_PATH = "/gradio_api/upload"
FILE_ROUTE = re.compile(r"/(?:gradio_api/)?file(?:=|/)(.*)", re.DOTALL)


def disable_downloads(message: str) -> None:
    """Make Gradio refuse URLs in place of files, in the whole process.

    Every file input accepts {"path": "https://..."}. Gradio then downloads and decompresses the response
    without a limit, which can fill the server's memory and disk, and has no setting against it.

    Args:
        message: The error for the client.
    """
    import gradio as gr
    from gradio import processing_utils

    async def refuse_async(url: str, cache_dir: str) -> NoReturn:
        raise gr.Error(message, print_exception=False)

    def refuse(url: str, cache_dir: str) -> NoReturn:
        raise gr.Error(message, print_exception=False)

    # Gradio looks these up by name at every call
    processing_utils.async_ssrf_protected_download = refuse_async
    processing_utils.ssrf_protected_download = processing_utils.save_url_to_cache = refuse


def replace_errors(unexpected: str, not_uploaded: str) -> None:
    """Replace the messages of Gradio's own errors, in the whole process.

    They contain paths of the server, such as the working directory, and parts of the code.

    Args:
        unexpected: The message for clients, instead of any exception other than `gradio.Error`.
        not_uploaded: The message for a file that Gradio did not receive as an upload.
    """
    from gradio import queueing, utils
    from gradio.exceptions import Error, InvalidPathError
    from gradio_client.exceptions import AppError

    describe = utils.error_payload

    def describe_without_paths(error: BaseException | None, show_error: bool) -> dict[str, Any]:
        if error is not None and not isinstance(error, AppError):
            message = not_uploaded if isinstance(error, InvalidPathError) else unexpected
            error = Error(message, print_exception=False)
        return dict(describe(error, show_error))

    utils.error_payload = queueing.error_payload = describe_without_paths


def no_empty_files() -> None:
    """Make Gradio's file components create no temporary files, in the whole process.

    They create an empty one for every file that they receive, which nothing uses or deletes.
    """
    from gradio.components.file import File
    from gradio.components.upload_button import UploadButton
    from gradio.exceptions import Error
    from gradio.utils import NamedString
    from gradio_client.utils import is_valid_file

    def process(component: File | UploadButton, file: Any) -> str:
        types = component.file_types
        if types and not is_valid_file(file.path, types):
            raise Error(f"The file must have one of these types: {', '.join(types)}.", print_exception=False)
        return NamedString(file.path)

    for component in (File, UploadButton):
        setattr(component, "_process_single_file", process)  # noqa: B010


def use_page_host() -> None:
    """Make the URLs in answers to the page relative to the opened address, in the whole process.

    Gradio's URLs contain the request's Host header, and the page sends its own requests there. Behind a proxy
    that does not pass the header on, that is an address that the browser cannot reach. Programs get complete
    URLs.
    """
    from gradio import route_utils
    from gradio_client.utils import is_http_url_like
    from httpx import URL

    with_host = route_utils.get_root_url

    def root_of(request: Any, route_path: str, root_path: str | None) -> str:
        root = str(with_host(request, route_path, root_path))
        if is_http_url_like(root_path or "") or not _is_from_page(request.headers):
            return root
        # the dot: Gradio appends "/gradio_api", and a URL that begins with "//" would name a host
        return URL(root).path.rstrip("/") or "/."

    route_utils.get_root_url = root_of


def _is_from_page(headers: Mapping[str, str]) -> bool:
    """Return whether a browser sends a request to open the page, or the page sends it to its own server."""
    if headers.get("accept", "").startswith("text/html"):
        return True
    site = headers.get("sec-fetch-site")  # browsers send it over https and to localhost
    return site == "same-origin" if site else "referer" in headers and "origin" not in headers


@contextmanager
def no_stub_files() -> Iterator[None]:
    """Define component classes inside without Gradio writing a .pyi file beside their module."""
    from gradio import component_meta

    write_stub = component_meta.create_or_modify_pyi
    component_meta.create_or_modify_pyi = lambda *_: None
    try:
        yield
    finally:
        component_meta.create_or_modify_pyi = write_stub


def cache_file(path: str | Path) -> str:
    """Copy a file to the folder that Gradio serves; return the copy's path."""
    from gradio.processing_utils import save_file_to_cache
    from gradio.utils import get_upload_folder

    return str(save_file_to_cache(path, get_upload_folder()))


class UploadInvalid(Exception):
    """An upload that Gradio refuses.

    Args:
        too_large: Whether a file is too large; otherwise, the request is not a valid upload.
    """

    def __init__(self, too_large: bool) -> None:
        super().__init__("file too large" if too_large else "not a valid upload")
        self.too_large = too_large


def upload_folder() -> str:
    """Return the folder of uploads."""
    from gradio.utils import get_upload_folder

    return str(get_upload_folder())


def refuse_incomplete_uploads() -> None:
    """Make Gradio refuse an upload without its closing boundary, in the whole process.

    Gradio ignores the file that was cut off, and answers as if there were none.
    """
    from gradio import route_utils
    from starlette.formparsers import MultiPartException

    class CompleteParser(route_utils.GradioMultiPartParser):
        is_complete = False

        def on_end(self) -> None:
            self.is_complete = True

        async def parse(self) -> Any:
            form = await super().parse()
            if not self.is_complete:
                for file in self._files_to_close_on_error:
                    file.close()
                raise MultiPartException("The closing boundary is missing.")
            return form

    setattr(route_utils, "GradioMultiPartParser", CompleteParser)  # noqa: B010


async def receive_upload(request: Any, folder: str, max_file: int) -> list[str]:
    """Receive an upload as Gradio's own route does.

    Args:
        request: A request of Starlette to that route.
        folder: Where the files are written, each in a folder named by its hash.
        max_file: Maximum size of a file in bytes.

    Returns:
        Paths of the files of the form field ``files``. The folder may contain other files too.

    Raises:
        UploadInvalid: A file is too large, or the request is not a valid upload.
    """
    from gradio.route_utils import upload_fn
    from gradio.routes import file_upload_statuses
    from python_multipart.exceptions import FormParserError
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartException

    upload_id = request.query_params.get("upload_id")
    statuses = file_upload_statuses if upload_id else None
    try:
        paths, _, _ = await upload_fn(
            request, folder, max_file, upload_id, force_move=True, upload_progress=statuses
        )
    except MultiPartException as error:
        raise UploadInvalid(error.message.startswith("File size")) from None
    # a boundary that is too long, and forms that Gradio does not expect
    except (FormParserError, HTTPException, TypeError, AttributeError, KeyError):
        raise UploadInvalid(False) from None
    finally:
        if upload_id:
            file_upload_statuses.set_done(upload_id)
    return [str(path) for path in paths]


def is_logged_in(app: Any, cookies: Mapping[str, str]) -> bool:
    """Return whether a browser is logged in, or the page has no login.

    Args:
        app: Gradio's ASGI app.
        cookies: The browser's cookies.
    """
    return app.auth is None or any(cookies.get(name) in app.tokens for name in _login_cookies(app))


def forget_login(app: Any, cookies: Mapping[str, str]) -> tuple[str, ...]:
    """End a browser's login on the server; return the names of its cookies.

    Gradio's own route keeps the token of a page that is not served by https.

    Args:
        app: Gradio's ASGI app.
        cookies: The browser's cookies.
    """
    for name in _login_cookies(app):
        app.tokens.pop(cookies.get(name), None)
    return _login_cookies(app)


def _login_cookies(app: Any) -> tuple[str, str]:
    return f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}"


def poll_queue(page: Any, seconds: float) -> None:
    """Set how often a launched page looks for events; Gradio's 1 ms takes 8 % of a core from the model."""
    page._queue.sleep_when_free = seconds


def set_shutdown_timeout(page: Any, seconds: int) -> None:
    """Limit how long the server of a launched page waits for open connections when it stops."""
    page.server.config.timeout_graceful_shutdown = seconds
