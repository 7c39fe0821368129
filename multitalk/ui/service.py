"""What stands between the page and the pipeline: loading once, one job at a time, results in files."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from ..errors import MultiTalkError

if TYPE_CHECKING:
    from ..pipeline import GenerationResult, MultiTalkPipeline
    from ..progress import CancelSignal, OnProgress
    from ..request import GenerationRequest

logger = logging.getLogger(__name__)


class GenerationService:
    """Loads the pipeline beside the page, so that the page is there at once, and runs jobs on it.

    Args:
        weights: A weights folder; None searches.
        output_folder: Where the videos go.
    """

    def __init__(self, weights: str | None, output_folder: Path) -> None:
        self.weights = weights
        self.output_folder = output_folder
        self._pipeline: MultiTalkPipeline | None = None
        self._failure: MultiTalkError | None = None
        self._loading = threading.Thread(target=self._load, name="load-weights", daemon=True)
        self._running = threading.Lock()

    def start_loading(self) -> None:
        """Begin to load the weights in the background."""
        self._loading.start()

    @property
    def status(self) -> str:
        """One line for the page about the models."""
        if self._failure is not None:
            return f"No video can be made: {self._failure}"
        if self._pipeline is None:
            return "The models are loading; a job started now waits for them."
        manifest = self._pipeline.folder.manifest
        return f"Ready: {self._pipeline.plan.description}; weights: {manifest.name}."

    @property
    def is_loading(self) -> bool:
        """Whether the status is still going to change."""
        return self._pipeline is None and self._failure is None

    def generate(
        self, request: GenerationRequest, on_progress: OnProgress, cancel: CancelSignal
    ) -> GenerationResult:
        """Run a job, after those before it.

        Raises:
            MultiTalkError: The job can't be done, was cancelled, or the weights can't be used.
        """
        self._loading.join()
        if self._failure is not None:
            raise self._failure
        assert self._pipeline is not None
        self.output_folder.mkdir(parents=True, exist_ok=True)
        with self._running:
            path = self.output_folder / f"multitalk-{time.strftime('%Y%m%d-%H%M%S')}-{uuid4().hex[:6]}.mp4"
            return self._pipeline.generate(request, path, on_progress, cancel)

    def _load(self) -> None:
        from ..pipeline import MultiTalkPipeline

        try:
            started = time.monotonic()
            self._pipeline = MultiTalkPipeline.from_pretrained(self.weights)
            logger.info("models loaded in %.1f s", time.monotonic() - started)
        except MultiTalkError as error:
            self._failure = error
            logger.error("%s", error)
        except Exception:
            self._failure = MultiTalkError("the models could not be loaded; the server's log says why.")
            logger.exception("loading failed")
