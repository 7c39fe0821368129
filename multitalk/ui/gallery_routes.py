"""HTTP routes for the results: the list, a file, pictures of it, the video that it dubs, and deletion."""

from __future__ import annotations

import io
import logging
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ..errors import MultiTalkError
from ..media.source_video import read_video
from ..media.xmp import XMP, read_xmp, save_png
from .gallery import Gallery
from .job_owner import owner_of
from .result import Result
from .routes import describe_result, missing
from .sharing import ALL, MINE, Sharing, VisibleResults

VIDEO_TYPES = {".webm": "video/webm", ".mkv": "video/x-matroska", ".avi": "video/x-msvideo"}
PAGE, MOST = 24, 500  # results in one answer
MAX_WORDS = 200  # letters of a search

logger = logging.getLogger(__name__)


class GalleryRoutes:
    """The routes under ``/multitalk/`` for results.

    Args:
        gallery: The results.
        sharing: Access to them.
    """

    def __init__(self, gallery: Gallery, sharing: Sharing) -> None:
        self._gallery, self._sharing = gallery, sharing

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/multitalk/results", self.index),
            Route("/multitalk/results/{name}", self.delete, methods=["DELETE"]),
            Route("/multitalk/results/{name}", self.result),
            Route("/multitalk/posters/{name}", self.poster),
            Route("/multitalk/last-frames/{name}", self.last_frame),
            Route("/multitalk/sources/{name}", self.source),
        ]

    def index(self, request: Request) -> Response:
        """Return the newest results: ``whose`` ("mine" or "all"), ``search``, and ``most`` of them."""
        visible, query = self._visible(request), request.query_params
        text = query.get("most", "")
        most = min(int(text), MOST) if text.isascii() and text.isdigit() and len(text) < 9 else PAGE
        whose = MINE if visible.has_choice and query.get("whose") == MINE else ALL
        found = visible.find(whose, query.get("search", "")[:MAX_WORDS], most + 1)
        results = [_describe(visible, result) for result in found[:most]]
        more = len(found) > most
        return JSONResponse(
            {"results": results, "more": more, "choice": visible.has_choice},
            headers={"Cache-Control": "no-store"},
        )

    def result(self, request: Request) -> Response:
        """Send a result."""
        result = self._visible(request).result(request.path_params["name"])
        path = None if result is None else self._gallery.path(result.name)
        if path is None:
            return missing()
        kind = "attachment" if request.query_params.get("download") else "inline"
        return FileResponse(
            path,
            media_type="video/mp4",
            filename=path.name,
            content_disposition_type=kind,
            headers={"Cache-Control": "private"},
        )

    def poster(self, request: Request) -> Response:
        """Send a result's thumbnail."""
        result = self._visible(request).result(request.path_params["name"])
        path = None if result is None else self._gallery.poster(result.name)
        headers = {"Cache-Control": "private"}
        return missing() if path is None else FileResponse(path, media_type="image/jpeg", headers=headers)

    def last_frame(self, request: Request) -> Response:
        """Send a result's last frame as a PNG file, with the XMP of the video."""
        result = self._visible(request).result(request.path_params["name"])
        path = None if result is None else self._gallery.path(result.name)
        if path is None:
            return missing()
        content = io.BytesIO()
        try:
            picture = read_video(path).last_picture
            with path.open("rb") as file:
                picture.info[XMP] = read_xmp(file)
            save_png(picture, content)
        except (MultiTalkError, OSError):
            return missing()
        disposition = f"attachment; filename*=utf-8''{quote(path.stem)}.png"
        headers = {"Cache-Control": "private", "Content-Disposition": disposition}
        return Response(content.getvalue(), media_type="image/png", headers=headers)

    def source(self, request: Request) -> Response:
        """Send the video that a result dubs, as long as the server has it."""
        path = self._visible(request).source(request.path_params["name"])
        # whatever the file's name says, it is no page of this site
        headers = {"Cache-Control": "private", "X-Content-Type-Options": "nosniff"}
        kind = VIDEO_TYPES.get(path.suffix.lower(), "video/mp4") if path is not None else ""
        return missing() if path is None else FileResponse(path, media_type=kind, headers=headers)

    def delete(self, request: Request) -> Response:
        """Delete a result."""
        # Gradio's login cookie is also sent by pages of other sites
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return JSONResponse({"detail": "Open the page to delete results."}, status_code=403)
        visible = self._visible(request)
        result = visible.result(request.path_params["name"])
        if result is None:
            return missing()
        if not visible.may_delete(result):
            detail = "The video was generated in another browser. Only that browser can delete it."
            return JSONResponse({"detail": detail}, status_code=403)
        try:
            self._gallery.delete(result.name)
        except OSError as error:
            logger.warning("cannot delete %s: %s", result.name, error)
            reason = error.strerror or "the server log has the details"
            return JSONResponse({"detail": f"The video cannot be deleted: {reason}."}, status_code=500)
        return JSONResponse({"deleted": result.name})

    def _visible(self, request: Request) -> VisibleResults:
        return VisibleResults(self._gallery, self._sharing, owner_of(request))


def _describe(visible: VisibleResults, result: Result) -> dict[str, Any]:
    return describe_result(result, has_source=visible.source(result.name) is not None) | {
        "deletable": visible.may_delete(result)
    }
