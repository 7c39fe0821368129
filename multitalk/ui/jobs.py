"""The queue of jobs, which run one at a time on one thread, whether or not their page is still open."""

from __future__ import annotations

import gc
import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Cancelled, InvalidInput, MultiTalkError
from .form_errors import hide_folders
from .gallery import SaveFailed
from .job import Job, describe_failure
from .job_clock import JobClock
from .job_store import JobRecord, JobStore
from .loras import FOLDER, link_uploads
from .queue_limits import MAX_BYTES, check_memory, check_places

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest
    from ..request.parts import Speech

logger = logging.getLogger(__name__)

MAX_FINISHED = 30  # finished jobs whose state is available
LOST = "The server stopped while this video was generated."


class JobQueue:
    """Runs jobs one after another on a separate thread.

    Args:
        folder: Parent of the jobs' folders.
        prepare: Called once on the thread before the first job, to load the models.
        run: Called on the thread for each job: sets the job's clips and result, and returns whether the video
            is complete.
        max_bytes: Limit of the memory for the images and audio of all jobs.
        store: Where jobs survive a restart, or None. Its jobs are added to the queue.
        uploads: Folder of uploads, on the same disk; a job keeps the LoRAs there until it is over.
    """

    def __init__(
        self,
        folder: Path,
        prepare: Callable[[], None],
        run: Callable[[Job], bool],
        max_bytes: int = MAX_BYTES,
        store: JobStore | None = None,
        uploads: Path | None = None,
    ) -> None:
        self._folder, self._prepare, self._run, self._max_bytes = folder, prepare, run, max_bytes
        self._waiting: deque[Job] = deque()
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._store, self._uploads = store, uploads
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        for record in store.records() if store is not None else ():
            self._restore(record)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(
        self,
        request: GenerationRequest,
        title: str,
        owner: str,
        scripts: Mapping[str, Speech] | None = None,
        keep: bool = True,
    ) -> Job:
        """Add a job to the end of the queue; see `Job` for the arguments.

        Args:
            keep: Whether the job survives a restart of the server.

        Raises:
            MultiTalkError: The queue is full.
        """
        with self._changed:
            self._check_room(request, owner)
        job = Job(request, title, owner, self._folder, scripts or {})
        job.folder = self._folder / job.id
        if self._uploads is not None:
            request = job.request = link_uploads(request, self._uploads, job.folder)
        if keep and self._store is not None:  # without the lock, since it may take seconds
            job.record = JobRecord(job.id, title, owner)
            self._store.add(job.record, request, job.scripts)
        try:
            with self._changed:
                self._check_room(request, owner)
                self._append(job)
        except MultiTalkError:
            self._release(job)
            raise
        return job

    def again(self, job: Job) -> None:
        """Add a lost job to the end of the queue again; without effect on other jobs.

        Raises:
            MultiTalkError: The queue is full.
        """
        with self._changed:
            if job.status != "lost" or job.record is None or self._store is None:
                return
            check_places(self._waiting, job.owner)
            job.status, job.error, job.result, job.progress = "waiting", None, None, None
            job.clock = JobClock()
            job.record.started, job.record.result = False, None
            self._store.update(job.record)
            self._append(job)

    def _append(self, job: Job) -> None:
        self._jobs.pop(job.id, None)  # a lost job becomes the newest
        self._jobs[job.id] = job
        self._waiting.append(job)
        self._forget_old()
        self._changed.notify()

    def _restore(self, record: JobRecord) -> None:
        """Add a stored job."""
        job = Job(None, record.title, record.owner, self._folder / record.id, id=record.id, record=record)
        self._jobs[job.id] = job
        if record.started:
            job.status, job.error, job.result = "lost", LOST, record.result
        else:
            self._waiting.append(job)

    def _release(self, job: Job) -> None:
        """Delete the files that a job needed until its end."""
        shutil.rmtree(job.folder / FOLDER, ignore_errors=True)
        self._unstore(job)

    def _unstore(self, job: Job) -> None:
        if job.record is not None and self._store is not None:
            job.record = None
            self._store.remove(job.id)

    def _check_room(self, request: GenerationRequest, owner: str) -> None:
        check_places(self._waiting, owner)
        check_memory(self._jobs.values(), request, self._max_bytes)

    def job(self, job_id: str) -> Job | None:
        """Return a job by its id."""
        return self._jobs.get(job_id)

    def latest(self, owner: str) -> Job | None:
        """Return the job for a reopened page.

        Returns:
            The browser's first lost job, else its first unfinished one, else its last one.
        """
        jobs = [job for job in list(self._jobs.values()) if job.owner == owner]
        lost = [job for job in jobs if job.status == "lost"]
        unfinished = [job for job in jobs if not job.is_over]
        return (*lost, *unfinished, *jobs[-1:], None)[0]

    def next_of_owner(self, job: Job) -> Job | None:
        """Return the same browser's next unfinished job, in a cycle; None if there is no other."""
        jobs = [
            other
            for other in list(self._jobs.values())
            if other.owner == job.owner and (other is job or not other.is_over)
        ]
        following = jobs[(jobs.index(job) + 1) % len(jobs)] if job in jobs else job
        return None if following is job else following

    def place(self, job: Job) -> int:
        """Return the number of jobs ahead, including the running one; 0 if it runs or is next."""
        with self._changed:
            if job not in self._waiting:
                return 0
            running = any(other.status == "running" for other in self._jobs.values())
            return self._waiting.index(job) + int(running)

    def cancel(self, job: Job) -> None:
        """Cancel a job: immediately if it waits, within one model call if it runs; forget a lost one."""
        with self._changed:
            if job.status == "lost":
                self._jobs.pop(job.id, None)
                self._unstore(job)
                return
            job.cancel.set()
            if job in self._waiting:
                self._waiting.remove(job)
                job.status, job.request = "cancelled", None
                self._release(job)

    def close(self, seconds: float) -> None:
        """Cancel every job and start no other; stored jobs that wait remain stored.

        Args:
            seconds: How long to wait for the thread, which may be loading the models or in a model call.
        """
        with self._changed:
            self._closed = True
            jobs = list(self._jobs.values())
            self._changed.notify()
        for job in jobs:
            if job.record is None:
                self.cancel(job)
            else:
                job.cancel.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _forget_old(self) -> None:
        over = [job for job in self._jobs.values() if job.is_over]  # lost ones too
        for job in over[:-MAX_FINISHED]:
            del self._jobs[job.id]
            self._unstore(job)
            if job.unsaved is None:
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
            self._begin(job)
            status = "done" if self._run(job) else "stopped"
        except Cancelled:
            status = "cancelled"
        except InvalidInput as error:
            job.error, job.error_field = _without_folders(error, job), error.field
        except SaveFailed as error:
            logger.error("%s", error)
            job.error, job.unsaved = str(error), error.path
        except MultiTalkError as error:
            job.error = _without_folders(error, job)
        except Exception as error:  # the thread continues with the next job
            logger.exception("job failed")
            job.error = describe_failure(error)
        job.seconds_taken = time.monotonic() - (job.started or 0)
        job.request = None  # frees the image and audio
        gc.collect()  # an error may be part of a reference cycle with frames and tensors
        self._end(job, status)
        job.status = status

    def _begin(self, job: Job) -> None:
        job.folder.mkdir(parents=True, exist_ok=True)  # a lost job may run again
        if job.record is None or self._store is None:
            return
        job.record.started = True
        self._store.update(job.record)
        if job.request is None:
            job.request, job.scripts = self._store.request(job.id), self._store.scripts(job.record)

    def _end(self, job: Job, status: str) -> None:
        if job.record is not None and self._store is not None and self._closed and status != "done":
            job.record.result = job.result  # the next server offers to generate the rest
            self._store.update(job.record)
        else:
            self._release(job)


def _without_folders(error: MultiTalkError, job: Job) -> str:
    """Return an error without the server's paths."""
    loras = () if job.request is None else job.request.lora
    return hide_folders(str(error), [str(lora.path) for lora in loras])
