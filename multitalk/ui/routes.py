"""What the page's own scripts ask for: a job's state and clips, results, whether the models are there."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ..pipeline.progress import Progress
from .access import browser_of
from .estimates import describe_seconds
from .gallery import Gallery, Result, plain_text
from .jobs import Job, JobQueue
from .worker import ModelWorker

STAGES = {
    "speech": "Speaking your words",
    "text": "Reading the prompt",
    "audio": "Listening to the voices",
    "image": "Looking at the picture",
    "encode": "Getting a clip ready",
    "denoise": "Drawing the movement",
    "decode": "Turning it into frames",
    "video": "Writing the video",
    "done": "Finishing",
}
MAX_FACT = 40  # letters
NOT_HERE = "There is nothing here."


class PageRoutes:
    """Answers under ``/multitalk/``.

    Args:
        queue: The jobs.
        worker: Knows whether the models are there.
        gallery: The results.
    """

    def __init__(self, queue: JobQueue, worker: ModelWorker, gallery: Gallery) -> None:
        self._queue, self._worker, self._gallery = queue, worker, gallery

    def routes(self) -> list[Route]:
        """For the server's routing table."""
        return [
            Route("/multitalk/status", self.status),
            Route("/multitalk/jobs/{job}", self.job),
            Route("/multitalk/jobs/{job}/cancel", self.cancel, methods=["POST"]),
            Route("/multitalk/jobs/{job}/clips/{number:int}.mp4", self.clip),
            Route("/multitalk/results/{name}", self.result),
            Route("/multitalk/posters/{name}", self.poster),
        ]

    async def status(self, request: Request) -> Response:
        """Whether the models are there."""
        state, text = self._worker.status
        return JSONResponse({"state": state, "text": text})

    def job(self, request: Request) -> Response:
        """Where a job stands."""
        job = self._own_job(request)
        return _missing() if job is None else JSONResponse(self.describe(job))

    def cancel(self, request: Request) -> Response:
        """Stop a job."""
        job = self._own_job(request)
        if job is None:
            return _missing()
        self._queue.cancel(job)
        return JSONResponse({"status": job.status})

    def clip(self, request: Request) -> Response:
        """A finished clip of a job that still runs."""
        job = self._own_job(request)
        number = request.path_params["number"]
        if job is None or not 0 <= number < len(job.clips):
            return _missing()
        return FileResponse(job.clips[number], media_type="video/mp4", headers={"Cache-Control": "private"})

    def result(self, request: Request) -> Response:
        """A result's file."""
        path = self._gallery.path(request.path_params["name"])
        if path is None:
            return _missing()
        kind = "attachment" if request.query_params.get("download") else "inline"
        return FileResponse(path, media_type="video/mp4", filename=path.name, content_disposition_type=kind)

    def poster(self, request: Request) -> Response:
        """A result's picture."""
        path = self._gallery.poster(request.path_params["name"])
        return _missing() if path is None else FileResponse(path, media_type="image/jpeg")

    def describe(self, job: Job) -> dict[str, Any]:
        """A job for the page's script."""
        told: dict[str, Any] = {
            "id": job.id,
            "status": job.status,
            "ready": len(job.clips),
            "error": job.error,
        }
        told |= _where(job.progress)
        if job.status == "waiting":
            before = self._queue.place(job)
            told["place"] = before
            told["stage"] = "Waiting" if before else "Next"
            told["detail"] = _before(before)
        if not self._worker.loaded.is_set():
            told["stage"] = "The models are still loading"
        elif job.cancel.is_set() and not job.is_over:
            told["stage"] = "Stopping"
        if (other := self._queue.next_own(job)) is not None:
            told["other"] = {"id": other.id, "status": other.status}
        if job.result and (result := self._gallery.result(job.result)) is not None:
            told["result"] = describe_result(result, job.seconds_taken)
        return told

    def _own_job(self, request: Request) -> Job | None:
        job = self._queue.job(request.path_params["job"])
        return job if job is not None and job.owner == browser_of(request) else None


def describe_result(result: Result, seconds_taken: float | None = None) -> dict[str, Any]:
    """A result for the page's scripts."""
    made = result.settings
    facts = [("Length", f"{result.seconds:.1f} s"), ("Size", f"{result.width} × {result.height}")]
    for name, label in (("seed", "Seed"), ("preset", "Preset"), ("steps", "Steps")):
        if isinstance(made.get(name), (int, float, str)):
            facts.append((label, plain_text(made[name], MAX_FACT)))
    if seconds_taken is not None:
        facts.append(("Made in", f"{seconds_taken:.0f} s"))
    return {
        "name": result.name,
        "title": result.title,
        "url": f"results/{result.name}",
        "poster": f"posters/{result.name}",
        "facts": facts,
        "length": f"{result.seconds:.1f} s",
        "date": time.strftime("%d %b, %H:%M", time.localtime(result.created)),
    }


def _where(progress: Progress | None) -> dict[str, Any]:
    if progress is None:
        return {"fraction": 0.0, "stage": "Starting", "detail": "", "left": "", "clips": 0}
    parts = []
    if progress.clips:
        parts.append(f"clip {progress.clip + 1} of {progress.clips}")
    if progress.stage == "denoise":
        parts.append(f"step {progress.step} of {progress.steps}")
    left = "" if progress.eta is None else f"about {describe_seconds(progress.eta)} left"
    return {
        "fraction": progress.fraction,
        "stage": STAGES.get(progress.stage, progress.stage),
        "detail": ", ".join(parts),
        "left": left,
        "clips": progress.clips,
    }


def _before(place: int) -> str:
    if place == 0:
        return "your video is next"
    return "one video is before yours" if place == 1 else f"{place} videos are before yours"


def _missing() -> Response:
    return JSONResponse({"detail": NOT_HERE}, status_code=404)
