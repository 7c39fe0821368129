"""The route that checks an uploaded LoRA before it is added to the page's form."""

from __future__ import annotations

import json
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..errors import InvalidInput, MultiTalkError
from .access import browser_of
from .backend import FOREIGN_FILE
from .form_errors import page_message
from .uploaded_files import FileOwners
from .worker import ModelWorker


class LoraRoute:
    """The route that checks an uploaded LoRA before it is added to the form.

    Args:
        worker: The models, which the file must fit.
        owners: Owners of the uploaded files.
    """

    def __init__(self, worker: ModelWorker, owners: FileOwners) -> None:
        self._worker, self._owners = worker, owners

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route("/multitalk/loras", self.check, methods=["POST"])]

    async def check(self, request: Request) -> Response:
        """Check the file whose ``path`` the body contains; return its ``warnings``, or the ``refusal``."""
        path: Any = None
        try:
            path = (await request.json())["path"]
            if not isinstance(path, str) or not self._owners.has(path, browser_of(request)):
                raise InvalidInput(FOREIGN_FILE)
            warnings = await run_in_threadpool(self._worker.check_lora, path)
        except (json.JSONDecodeError, UnicodeDecodeError, LookupError, TypeError):
            return JSONResponse({"detail": "The request must contain a path."}, status_code=400)
        except MultiTalkError as error:
            return JSONResponse({"refusal": page_message(error, {"lora": path})})
        return JSONResponse({"warnings": list(warnings)})
