"""HTTP routes for the page's scripts: state of the models, jobs and their clips, results."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ..errors import MultiTalkError
from ..pipeline.progress import Progress
from .file_settings import parse_loras
from .form_errors import with_labels
from .gallery import Gallery
from .job import Job
from .job_clock import FINISHING_SECONDS, ShownTime, describe_left
from .job_owner import owner_of
from .jobs import JobQueue
from .result import Result, plain_text
from .sharing import Sharing, VisibleResults
from .worker import ModelWorker

STAGES = {
    "start": "Starting",
    "speech": "Generating speech",
    "text": "Encoding the prompt",
    "audio": "Encoding the audio",
    "isolate": "Isolating the voice",
    "scenes": "Finding cuts",
    "image": "Encoding the image",
    "encode": "Preparing the clip",
    "denoise": "Denoising",
    "decode": "Decoding frames",
    "video": "Writing the video file",
    "done": "Finishing",
}
MAX_FACT = 40  # letters
MAX_LORAS = 4  # files can come from anywhere


class PageRoutes:
    """The routes under ``/multitalk/``.

    Args:
        queue: The jobs.
        worker: The models.
        gallery: The results.
    """

    def __init__(self, queue: JobQueue, worker: ModelWorker, gallery: Gallery) -> None:
        self._queue, self._worker, self._gallery = queue, worker, gallery
        self._server = uuid4().hex

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            # POST is refused like the page's other requests if its address is not allowed
            Route("/multitalk/status", self.status, methods=["GET", "POST"]),
            Route("/multitalk/jobs/{job}", self.job),
            Route("/multitalk/jobs/{job}/cancel", self.cancel, methods=["POST"]),
            Route("/multitalk/jobs/{job}/again", self.again, methods=["POST"]),
            Route("/multitalk/jobs/{job}/clips/{number}.mp4", self.clip),
            Route("/multitalk/jobs/{job}/previews/{clip:int}-{step:int}.mp4", self.preview),
        ]

    async def status(self, request: Request) -> Response:
        """Return the state of the models, and an id that differs after a restart."""
        state, text = self._worker.status
        return JSONResponse({"state": state, "text": text, "server": self._server})

    def job(self, request: Request) -> Response:
        """Return the state of a job."""
        job = self._job_of_browser(request)
        return missing() if job is None else JSONResponse(self.describe(job))

    def cancel(self, request: Request) -> Response:
        """Cancel a job."""
        job = self._job_of_browser(request)
        if job is None:
            return missing()
        self._queue.cancel(job)
        return JSONResponse({"status": job.status})

    def again(self, request: Request) -> Response:
        """Add a lost job to the queue again."""
        job = self._job_of_browser(request)
        if job is None:
            return missing()
        try:
            self._queue.again(job)
        except MultiTalkError as error:
            return JSONResponse({"detail": str(error)}, status_code=409)
        return JSONResponse({"status": job.status})

    def clip(self, request: Request) -> Response:
        """Send a finished clip of a running job."""
        job = self._job_of_browser(request)
        clips = {} if job is None else {str(number): path for number, path in enumerate(job.clips)}
        if (path := clips.get(request.path_params["number"])) is None:
            return missing()
        return FileResponse(path, media_type="video/mp4", headers={"Cache-Control": "private"})

    def preview(self, request: Request) -> Response:
        """Send a preview of a running job."""
        job = self._job_of_browser(request)
        clip, step = request.path_params["clip"], request.path_params["step"]
        if job is None or not (path := job.preview_file(clip, step)).is_file():
            return missing()
        return FileResponse(path, media_type="video/mp4", headers={"Cache-Control": "private"})

    def describe(self, job: Job) -> dict[str, Any]:
        """Return the state of a job for the page's script."""
        state: dict[str, Any] = {
            "id": job.id,
            "status": job.status,
            "ready": len(job.clips),
            "preview": None if job.preview is None else f"{job.preview.clip}-{job.preview.step}",
            "error": with_labels(job.error) if job.error else None,
            "warnings": [with_labels(warning) for warning in job.warnings],
        }
        state |= _describe_progress(job.progress, job.clock.show())
        if job.status == "waiting":
            place = self._queue.place(job)
            state |= {"stage": "Waiting", "detail": _describe_place(place), "ahead": place}
        if not self._worker.loaded.is_set():
            state["stage"] = "Loading models"
        elif job.cancel.is_set() and not job.is_over:
            state["stage"] = "Canceling"
        if (other := self._queue.next_of_owner(job)) is not None:
            state["other"] = {"id": other.id, "status": other.status}
        if job.result and (result := self._gallery.result(job.result)) is not None:
            # a job is only shown to the browser that owns its result
            has_source = VisibleResults(self._gallery, Sharing(), job.owner).source(job.result) is not None
            described = describe_result(result, job.seconds_taken, has_source)
            signature = f"signed by {job.signed_by}" if job.signed_by else "off"
            described["facts"].append(("Content Credentials", signature))
            state["result"] = described | {"notice": job.notice}
        return state

    def _job_of_browser(self, request: Request) -> Job | None:
        job = self._queue.job(request.path_params["job"])
        return job if job is not None and job.owner == owner_of(request) else None


def describe_result(
    result: Result, seconds_taken: float | None = None, has_source: bool = False
) -> dict[str, Any]:
    """Return a result for the page's scripts.

    Args:
        result: The result.
        seconds_taken: Its run time, if it is known.
        has_source: Whether the browser can compare it with the video that it dubs.
    """
    settings = result.settings
    facts = [("Length", f"{result.seconds:.1f} s"), ("Size", f"{result.width} × {result.height}")]
    for name, label in (("seed", "Seed"), ("preset", "Preset"), ("steps", "Steps")):
        if isinstance(settings.get(name), (int, float, str)):
            facts.append((label, plain_text(settings[name], MAX_FACT)))
    for name, scale in parse_loras(settings.get("lora"))[:MAX_LORAS]:
        facts.append(("LoRA", f"{plain_text(name, MAX_FACT - 8)} × {scale:g}"))
    if seconds_taken is not None:
        facts.append(("Run time", f"{seconds_taken:.0f} s"))
    return {
        "name": result.name,
        "title": result.title,
        "url": f"results/{quote(result.name)}",
        "poster": f"posters/{quote(result.name)}",
        "last_frame": f"last-frames/{quote(result.name)}",
        "source": f"sources/{quote(result.name)}" if has_source else None,
        "facts": facts,
        "length": f"{result.seconds:.1f} s",
        "date": time.strftime("%d %b, %H:%M", time.localtime(result.created)),
    }


def _describe_progress(progress: Progress | None, shown: ShownTime) -> dict[str, Any]:
    if progress is None:
        return {"fraction": 0.0, "stage": "Starting", "detail": "", "left": "", "clips": 0}
    parts = []
    if progress.clips and progress.stage != "done":
        parts.append(f"clip {progress.clip + 1} of {progress.clips}")
    if progress.stage == "denoise":
        parts.append(f"step {progress.step} of {progress.steps}")
    finishing = progress.stage == "done" or (shown.left is not None and shown.left <= FINISHING_SECONDS)
    if shown.slower:
        parts.append("slower than estimated")
    return {
        "fraction": shown.fraction,
        "stage": STAGES["done" if finishing else progress.stage],
        "finishing": finishing,
        "detail": ", ".join(parts),
        "left": describe_left(shown.left),
        "seconds_left": shown.left,
        "clips": progress.clips,
    }


def _describe_place(place: int) -> str:
    if place == 0:
        return "your video is next"
    return "1 video is ahead of yours" if place == 1 else f"{place} videos are ahead of yours"


def missing() -> Response:
    """Return the answer for something that does not exist, or belongs to another browser."""
    return JSONResponse({"detail": "Not found."}, status_code=404)
