"""What RunPod calls for each job: async, with the models in one thread, so that a job can be cancelled."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import Cancelled, MultiTalkError
from ..request.aliases import uses_worker_names
from ..runtime.process_memory import is_out_of_memory
from .answers import encoded_size, failure
from .bucket import Bucket
from .delivery import Emit, JobDelivery, safe_name
from .inputs import input_urls, read_request
from .log import log_event
from .memory import check_device, peaks, release, reset_peaks
from .progress import ProgressReporter
from .worker_settings import WorkerSettings

if TYPE_CHECKING:
    from ..pipeline.pipeline import MultiTalkPipeline
    from ..request.generation_request import GenerationRequest

Result = TypeVar("Result")
SendProgress = Callable[[dict[str, Any], dict[str, Any]], None]
FOLDER_PREFIX = "multitalk-job-"
WORKER_ENDS = "The job was cancelled, because the worker ends."
ALIAS_FILENAME = "generated_video"  # what the known worker calls every file, without its ending


class JobWorker:
    """Runs jobs on models that stay loaded, one after the other.

    Args:
        pipeline: The models.
        settings: Of the worker.
        config: What ``runpod.serverless.start`` was given; ``refresh_worker`` in it ends the process.
        bucket: Where videos go, or None.
        send_progress: Sends an update of a job to RunPod; None where nobody would get it.
    """

    def __init__(
        self,
        pipeline: MultiTalkPipeline,
        settings: WorkerSettings,
        config: dict[str, Any],
        bucket: Bucket | None = None,
        send_progress: SendProgress | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.config = config
        self.bucket = bucket
        self._send_progress = send_progress
        # one thread: jobs follow each other, and its allocator and its thread pools are used again
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="job")
        self._cancels: set[threading.Event] = set()
        self._readings: set[asyncio.Future[GenerationRequest]] = set()
        self._ending = False

    async def handle(self, job: dict[str, Any]) -> dict[str, Any]:
        """Do a job: the answer, or an error with ``error``, ``error_type`` and ``field``.

        Raises:
            asyncio.CancelledError: The job was cancelled; the models are free again by then.
        """
        return await self._run(job, None)

    async def stream(self, job: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Do a job and yield each clip as soon as it is decoded, then the whole; see :meth:`handle`."""
        loop = asyncio.get_running_loop()
        messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

        def emit(message: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(messages.put_nowait, message)

        task = asyncio.create_task(self._run(job, emit))
        task.add_done_callback(lambda _: messages.put_nowait(None))
        try:
            while (message := await messages.get()) is not None:
                yield message
            yield await task
        finally:  # also where the caller is gone, or the job was cancelled
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    def cancel_all(self) -> None:
        """Ask every job to stop, those to come included, so that the process can end.

        Each is answered as `cancelled`. To be called where the jobs' loop runs, or when it has ended.
        """
        self._ending = True
        for cancel in list(self._cancels):
            cancel.set()
        for reading in list(self._readings):
            reading.cancel()

    async def _run(self, job: dict[str, Any], emit: Emit | None) -> dict[str, Any]:
        job_id, given = str(job.get("id") or "job"), job.get("input")
        started = time.monotonic()
        self._log_start(job_id, given)
        loop = asyncio.get_running_loop()
        reporter = ProgressReporter(loop, partial(self._report, job))
        cancel = threading.Event()
        self._cancels.add(cancel)
        try:
            request = await self._read(given)
            self._log_inputs(job_id, request, time.monotonic() - started)
            answer = await self._in_thread(
                lambda: self._generate(request, job_id, given, cancel, reporter, emit), cancel
            )
            self._log_end(job_id, answer, time.monotonic() - started)
        except asyncio.CancelledError:
            log_event("job_cancelled", job_id, elapsed=round(time.monotonic() - started, 3))
            raise
        except Exception as error:
            answer = await self._answer_failure(error, job_id, cancel)
        finally:
            reporter.close()
            self._cancels.discard(cancel)
            self._executor.submit(release)  # before the next job, when the frames of this one are gone
        return answer

    async def _read(self, given: Any) -> GenerationRequest:
        """The job's request; its files may take minutes to come, which an end doesn't wait for.

        Raises:
            Cancelled: The worker ends.
        """
        if self._ending:
            raise Cancelled(WORKER_ENDS)
        reading = asyncio.ensure_future(read_request(given, self.settings))
        self._readings.add(reading)
        try:
            request = await reading
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._ending or (task is not None and task.cancelling()):
                raise  # the job itself was cancelled
            raise Cancelled(WORKER_ENDS) from None
        finally:
            self._readings.discard(reading)
        if self._ending:
            raise Cancelled(WORKER_ENDS)
        return request

    async def _in_thread(self, work: Callable[[], Result], cancel: threading.Event) -> Result:
        """Run in the models' thread. A cancelled caller gets away once the thread has let go of them."""
        future = self._executor.submit(work)
        wrapped = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(wrapped)
        except asyncio.CancelledError:
            cancel.set()
            if not future.cancel():
                while not wrapped.done():
                    try:
                        await asyncio.wait([wrapped])
                    except asyncio.CancelledError:
                        continue
                wrapped.exception()  # looked at, or asyncio complains in the log
            del future, wrapped  # they hold the exception, which holds the job's frames and tensors
            raise

    def _generate(
        self,
        request: GenerationRequest,
        job_id: str,
        given: Any,
        cancel: threading.Event,
        reporter: ProgressReporter,
        emit: Emit | None,
    ) -> dict[str, Any]:
        """Make and deliver a video; runs in the models' thread."""
        reset_peaks()
        aliased = isinstance(given, Mapping) and uses_worker_names(given)
        filename = ALIAS_FILENAME if aliased else f"multitalk-{safe_name(job_id)}.mp4"
        with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX) as name:
            folder = Path(name)
            delivery = JobDelivery(
                self.settings, self.bucket, job_id, folder, self.pipeline.fps, emit, reporter.on_url
            )
            delivery.start()
            result = self.pipeline.generate(
                request, folder / "video.mp4", reporter.on_progress, cancel, delivery.clip
            )
            return delivery.finish(result, filename)

    async def _answer_failure(self, error: Exception, job_id: str, cancel: threading.Event) -> dict[str, Any]:
        answer = failure(error, job_id)
        unexpected = not isinstance(error, MultiTalkError)
        # the sentence may quote what the caller wrote, so it stays out of the log unless asked for
        told = {"reason": answer["error"]} if self.settings.log_inputs else {}
        log_event(
            "job_failed",
            job_id,
            logging.ERROR if unexpected else logging.WARNING,
            error if answer["error_type"] == "internal" else None,
            error_type=answer["error_type"],
            field=answer["field"],
            **told,
            **peaks(),
        )
        if unexpected and not await self._device_answers(job_id, cancel):
            answer["refresh_worker"] = True
            self.config["refresh_worker"] = True
        return answer

    async def _device_answers(self, job_id: str, cancel: threading.Event) -> bool:
        """Whether the GPU still computes; where it doesn't, every later job of this process would fail."""
        try:
            await self._in_thread(lambda: check_device(self.pipeline.plan.device), cancel)
        except Exception as error:
            if is_out_of_memory(error):
                return True
            log_event("device_broken", job_id, logging.ERROR, error)
            return False
        return True

    def _report(self, job: dict[str, Any], update: dict[str, Any]) -> None:
        if self._send_progress is not None:
            self._send_progress(job, update)

    def _log_start(self, job_id: str, given: Any) -> None:
        fields: dict[str, Any] = {}
        if isinstance(given, Mapping):
            fields["fields"] = sorted(str(name)[:80] for name in given)
            if self.settings.log_inputs:
                speech = given.get("speech")
                fields |= {"prompt": given.get("prompt"), "speech": speech, "urls": input_urls(given)}
        log_event("job_started", job_id, **fields)

    def _log_inputs(self, job_id: str, request: GenerationRequest, elapsed: float) -> None:
        log_event(
            "inputs_read",
            job_id,
            elapsed=round(elapsed, 3),
            picture=list(request.image.size),
            sounds={person: round(sound.seconds, 3) for person, sound in (request.audio or {}).items()},
        )

    def _log_end(self, job_id: str, answer: Mapping[str, Any], elapsed: float) -> None:
        told = ("seed", "frames", "seconds", "width", "height", "timings")
        delivery = "bucket" if "video_url" in answer else "inline"
        log_event(
            "job_finished",
            job_id,
            elapsed=round(elapsed, 3),
            delivery=delivery,
            answer_bytes=encoded_size(answer),
            **{name: answer[name] for name in told},
            **peaks(),
        )
