"""The page's jobs: one at a time on one thread, in the order they came, whoever is still looking."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from ..errors import Cancelled, InvalidInput, MultiTalkError
from ..runtime.process_memory import is_out_of_memory
from .gallery import NotKept

if TYPE_CHECKING:
    from ..pipeline.progress import Progress
    from ..request.generation_request import GenerationRequest, Speech

logger = logging.getLogger(__name__)

MAX_WAITING = 50
MAX_OWN = 10  # of one browser: others find room, and one person can leave an evening of them
MAX_BYTES = 4 * 2**30  # of decoded pictures and sounds, which a job holds from when it is asked for
KEPT = 30  # finished jobs whose state can still be asked for


@dataclass(eq=False)  # two jobs are never the same, and comparing would compare whole pictures
class Job:
    """A video that is made, waits to be made, or was made.

    Attributes:
        request: What is to be made; None once it is over.
        title: What its file will be called after.
        owner: The browser that wants it.
        folder: Its own, for clips while it runs.
        said: What was spoken to make the request's sounds, by person; for the file.
        status: "waiting", "running", "done", "stopped" (cancelled; what was done is kept), "cancelled" or
            "failed".
        progress: Where it stands.
        clips: Finished clips, each a file that plays.
        result: Name of the finished video in the gallery.
        error: A sentence for the person, where it failed.
        error_field: The request's field that it is about, or None.
        left: The finished video where the gallery didn't take it: its folder stays while the server runs.
        seconds_taken: How long it ran.
    """

    request: GenerationRequest | None
    title: str
    owner: str
    folder: Path
    said: Mapping[str, Speech] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid4().hex)
    status: str = "waiting"
    progress: Progress | None = None
    clips: list[Path] = field(default_factory=list)
    result: str | None = None
    error: str | None = None
    error_field: str | None = None
    left: Path | None = None
    started: float | None = None
    seconds_taken: float | None = None
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.status not in ("waiting", "running")


class JobQueue:
    """Runs jobs one after another on a thread of its own.

    Args:
        folder: For the jobs' own folders.
        prepare: Called once on the thread before the first job: loads the models.
        run: Makes a job's video on the thread, sets the job's clips and result, and returns whether it is
            whole.
        max_bytes: What the pictures and sounds of all jobs may take in memory.
    """

    def __init__(
        self,
        folder: Path,
        prepare: Callable[[], None],
        run: Callable[[Job], bool],
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._folder, self._prepare, self._run, self._max_bytes = folder, prepare, run, max_bytes
        self._waiting: deque[Job] = deque()
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    def start(self) -> None:
        """Begin to load, then to work."""
        self._thread.start()

    def submit(
        self,
        request: GenerationRequest,
        title: str,
        owner: str,
        said: Mapping[str, Speech] | None = None,
    ) -> Job:
        """Put a job at the end of the queue; see `Job` for the arguments.

        Raises:
            MultiTalkError: Too many wait already.
        """
        with self._changed:
            self._check_room(request, owner)
            job = Job(request, title, owner, self._folder, said or {})
            job.folder = self._folder / job.id
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._forget_old()
            self._changed.notify()
        return job

    def _check_room(self, request: GenerationRequest, owner: str) -> None:
        if len(self._waiting) >= MAX_WAITING:
            raise MultiTalkError(f"{MAX_WAITING} videos are waiting already: try again a little later.")
        if sum(job.owner == owner for job in self._waiting) >= MAX_OWN:
            raise MultiTalkError(
                f"{MAX_OWN} of your videos are waiting already: ask for another when one of them has begun."
            )
        # each read once: the model's thread takes a finished job's away
        requests = [job.request for job in self._jobs.values()]
        held = sum(_bytes_of(each) for each in requests if each is not None)
        if held + _bytes_of(request) > self._max_bytes:
            raise MultiTalkError(
                "The pictures and sounds of the videos that wait fill the memory for them: try again when "
                "some of them are made, or give a shorter sound."
            )

    def job(self, job_id: str) -> Job | None:
        """A job by its id."""
        return self._jobs.get(job_id)

    def latest(self, owner: str) -> Job | None:
        """What a browser that opens the page again sees: what runs, else what it asked for last."""
        own = [job for job in list(self._jobs.values()) if job.owner == owner]
        running = [job for job in own if not job.is_over]
        chosen = running or own[-1:]
        return chosen[0] if chosen else None

    def next_own(self, job: Job) -> Job | None:
        """Another job of the same browser that isn't over: the next one in their order, round and round."""
        own = [
            other
            for other in list(self._jobs.values())
            if other.owner == job.owner and (other is job or not other.is_over)
        ]
        following = own[(own.index(job) + 1) % len(own)] if job in own else job
        return None if following is job else following

    def place(self, job: Job) -> int:
        """How many jobs are before it, with the one that runs; 0 is the one that runs or comes next."""
        with self._changed:
            if job not in self._waiting:
                return 0
            running = any(other.status == "running" for other in self._jobs.values())
            return self._waiting.index(job) + int(running)

    def cancel(self, job: Job) -> None:
        """Stop a job: within one model call if it runs, at once if it waits."""
        job.cancel.set()
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.status, job.request = "cancelled", None

    def close(self, seconds: float) -> None:
        """Cancel every job and begin no other.

        Args:
            seconds: How long to wait for the thread: it may load the models, or be in a model call.
        """
        with self._changed:
            self._closed = True
            jobs = list(self._jobs.values())
            self._changed.notify()
        for job in jobs:
            self.cancel(job)
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _forget_old(self) -> None:
        over = [job for job in self._jobs.values() if job.is_over]
        for job in over[:-KEPT]:
            del self._jobs[job.id]
            if job.left is None:
                shutil.rmtree(job.folder, ignore_errors=True)

    def _work(self) -> None:
        self._prepare()
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._waiting.popleft()
                job.status, job.started = "running", time.monotonic()
            self._run_one(job)

    def _run_one(self, job: Job) -> None:
        status = "failed"
        try:
            job.folder.mkdir(parents=True)
            status = "done" if self._run(job) else "stopped"
        except Cancelled:
            status = "cancelled"
        except InvalidInput as error:
            job.error, job.error_field = str(error), error.field
        except NotKept as error:
            logger.error("%s", error)
            job.error, job.left = str(error), error.path
        except MultiTalkError as error:
            job.error = str(error)
        except Exception as error:  # the thread goes on with the next job, whatever happens to this one
            logger.exception("a job failed")
            job.error = _sentence(error)
        job.seconds_taken = time.monotonic() - (job.started or 0)
        job.request = None  # pictures and sounds of finished jobs don't stay in memory
        job.status = status


def _bytes_of(request: GenerationRequest) -> int:
    """What a request holds in memory, near enough."""
    sounds = sum(sound.samples.nbytes for sound in (request.audio or {}).values())
    return sounds + request.image.width * request.image.height * len(request.image.getbands())


def _sentence(error: Exception) -> str:
    if is_out_of_memory(error):
        return "There isn't enough memory for this video: choose a smaller size or fewer frames per clip."
    return "Something went wrong while the video was made; the server's log says what. Try it once more."
