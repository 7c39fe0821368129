"""A video that was requested: waiting, in progress or finished."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from ..runtime.process_memory import is_out_of_memory
from .job_clock import JobClock
from .job_store import JobRecord

if TYPE_CHECKING:
    from ..pipeline.progress import Progress
    from ..request.generation_request import GenerationRequest
    from ..request.parts import Speech


class PreviewNumber(NamedTuple):
    """Index of a clip, and the number of steps after which it looked like this."""

    clip: int
    step: int


@dataclass(eq=False)  # comparing fields would compare whole images
class Job:
    """A video in the queue, in progress or finished.

    Attributes:
        request: The request; None once the job is over, and until a stored job runs.
        title: Title of the video, from which its file is named.
        owner: The browser that requested it.
        folder: The job's folder, for clips while it runs.
        scripts: Text of each person whose audio was made from it; saved in the file.
        status: "waiting", "running", "done", "stopped" (canceled, with the finished part saved), "cancelled",
            "failed", or "lost" (the server stopped while it ran).
        progress: The latest progress.
        clock: The time that the page shows.
        clips: Finished clips, each a playable file.
        preview: The latest preview of the clip that is generated, or None.
        result: Name of the finished video in the gallery.
        warnings: What the user should know about the video, one sentence each.
        marks: What says in the video that it was made by AI.
        signed_by: Who signed it; None without a signature.
        watermark: The number in its watermark; None without one.
        error: Error message, if the job failed.
        error_field: Field of the request that the error is about, or None.
        unsaved: The finished video, if the gallery could not save it; its folder is kept until the server
            stops.
        seconds_taken: Run time.
        record: What is stored of the job, or None.
        notice: A line that the page shows beside the result.
        source: The uploaded video that is dubbed; empty without one.
    """

    request: GenerationRequest | None
    title: str
    owner: str
    folder: Path
    scripts: Mapping[str, Speech] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid4().hex)
    status: str = "waiting"
    progress: Progress | None = None
    clock: JobClock = field(default_factory=JobClock)
    clips: list[Path] = field(default_factory=list)
    preview: PreviewNumber | None = None
    result: str | None = None
    warnings: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    signed_by: str | None = None
    watermark: int | None = None
    error: str | None = None
    error_field: str | None = None
    unsaved: Path | None = None
    started: float | None = None
    seconds_taken: float | None = None
    record: JobRecord | None = None
    notice: str = ""
    source: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        """Whether the job has ended."""
        return self.status not in ("waiting", "running")

    def preview_file(self, clip: int, step: int) -> Path:
        """Return the path of a preview."""
        return self.folder / f"preview-{clip}-{step}.mp4"


def describe_failure(error: Exception) -> str:
    """Return the message for an unexpected error."""
    if is_out_of_memory(error):
        return "Not enough memory for this video: choose a smaller size or fewer frames per clip."
    return "The video failed with an unexpected error. Try again; the server log has the details."
