"""The job handler: async, with the models in one thread, so that jobs can be cancelled."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import Cancelled, InvalidInput, MultiTalkError
from ..request.aliases import uses_worker_names
from ..request.caller_names import in_caller_words
from ..request.infinitetalk_names import uses_infinitetalk_names
from ..runtime.process_memory import is_out_of_memory
from ..runtime.temporary_folders import temporary_folder
from .answers import encoded_size, failure
from .bucket import Bucket
from .delivery import Emit, JobDelivery, safe_name
from .fitness import check_device, peaks, release, reset_peaks
from .inputs import input_urls, read_request
from .log import log_event
from .progress import ProgressReporter
from .worker_settings import WorkerSettings

if TYPE_CHECKING:
    from ..pipeline.pipeline import MultiTalkPipeline
    from ..request.generation_request import GenerationRequest

Result = TypeVar("Result")
SendProgress = Callable[[dict[str, Any], dict[str, Any]], None]
WORKER_STOPS = "The job was cancelled because the worker is shutting down."
MAX_IN_MEMORY = 2  # the job that runs, and the one that is read meanwhile
MAX_LOGGED_NAMES = 100
ALIAS_FILENAME = "generated_video"  # file name of the known worker, without extension


class JobWorker:
    """Run jobs one after another on models that stay loaded.

    Args:
        pipeline: The models.
        settings: The worker's settings.
        config: The configuration of ``runpod.serverless.start``; setting ``refresh_worker`` ends the process.
        bucket: Where videos are uploaded, or None.
        send_progress: Sends a job's progress to RunPod; None outside RunPod.
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
        # one thread runs all jobs, so its allocator and thread pools are reused
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="job")
        self._cancels: set[threading.Event] = set()
        self._reads: set[asyncio.Future[GenerationRequest]] = set()
        # jobs whose files are in memory; the others wait
        self._in_memory = asyncio.Semaphore(MAX_IN_MEMORY)
        self._stopping = False

    async def handle(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run a job; returns its output, or ``error``, ``error_type`` and ``field``.

        Raises:
            asyncio.CancelledError: The job was cancelled, and the models have stopped.
        """
        return await self._run(job, None)

    async def stream(self, job: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Run a job, yield each clip as soon as it is decoded, then the output; see :meth:`handle`."""
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
        finally:  # also if the caller disconnected or the job was cancelled
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    def cancel_all(self) -> None:
        """Cancel all jobs, including later ones, so that the process can exit.

        Must be called in the thread of the event loop, or after the loop has ended.
        """
        self._stopping = True
        for cancel in list(self._cancels):
            cancel.set()
        for read in list(self._reads):
            read.cancel()

    async def _run(self, job: dict[str, Any], emit: Emit | None) -> dict[str, Any]:
        job_id, job_input = str(job.get("id") or "job"), job.get("input")
        started = time.monotonic()
        self._log_start(job_id, job_input)
        loop = asyncio.get_running_loop()
        reporter = ProgressReporter(loop, partial(self._report, job))
        cancel = threading.Event()
        self._cancels.add(cancel)
        try:
            async with self._in_memory:
                request = await self._read(job_input)
                self._log_inputs(job_id, request, time.monotonic() - started)
                answer = await self._in_thread(
                    lambda: self._generate(request, job_id, job_input, cancel, reporter, emit), cancel
                )
            self._log_end(job_id, answer, time.monotonic() - started)
        except asyncio.CancelledError:
            log_event("job_cancelled", job_id, elapsed=round(time.monotonic() - started, 3))
            raise
        except Exception as error:
            answer = await self._answer_failure(error, job_id, job_input, cancel)
        finally:
            reporter.close()
            self._cancels.discard(cancel)
            self._executor.submit(release)  # before the next job, after this job's frames are gone
        return answer

    async def _read(self, job_input: Any) -> GenerationRequest:
        """Read the job's request; shutting down does not wait for its downloads.

        Raises:
            Cancelled: The worker is shutting down.
        """
        if self._stopping:
            raise Cancelled(WORKER_STOPS)
        read = asyncio.ensure_future(read_request(job_input, self.settings))
        self._reads.add(read)
        try:
            request = await read
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._stopping or (task is not None and task.cancelling()):
                raise  # the job itself was cancelled
            raise Cancelled(WORKER_STOPS) from None
        finally:
            self._reads.discard(read)
            del read  # it references the exception, which references this frame and those with the files
        if self._stopping:
            raise Cancelled(WORKER_STOPS)
        return request

    async def _in_thread(self, work: Callable[[], Result], cancel: threading.Event) -> Result:
        """Run in the models' thread; on cancellation, wait until the models have stopped."""
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
                wrapped.exception()  # retrieved, or asyncio logs a warning
            raise
        finally:
            del future, wrapped  # they reference the exception, which references the job's frames and tensors

    def _generate(
        self,
        request: GenerationRequest,
        job_id: str,
        job_input: Any,
        cancel: threading.Event,
        reporter: ProgressReporter,
        emit: Emit | None,
    ) -> dict[str, Any]:
        """Generate and deliver a video; runs in the models' thread."""
        reset_peaks()
        aliased = isinstance(job_input, Mapping) and uses_worker_names(job_input)
        filename = ALIAS_FILENAME if aliased else f"multitalk-{safe_name(job_id)}.mp4"
        with temporary_folder("job") as folder:
            delivery = JobDelivery(
                self.settings, self.bucket, job_id, folder, self.pipeline.fps, emit, reporter.on_url, cancel
            )
            delivery.start()
            result = self.pipeline.generate(
                request,
                folder / "video.mp4",
                reporter.on_progress,
                cancel,
                delivery.clip,
                None if emit is None else delivery.preview,
                job_id=job_id,
            )
            options = job_input if isinstance(job_input, Mapping) else {}
            with_frame = options.get("last_frame") is True
            if not uses_infinitetalk_names(options):
                return delivery.finish(result, filename, with_frame=with_frame)
            to_volume = options.get("network_volume") is True
            answer = delivery.finish(result, filename, to_volume, with_frame)
            return {"video" if name == "video_base64" else name: value for name, value in answer.items()}

    async def _answer_failure(
        self, error: Exception, job_id: str, job_input: Any, cancel: threading.Event
    ) -> dict[str, Any]:
        named = in_caller_words(error, job_input) if isinstance(error, InvalidInput) else error
        answer = failure(named, job_id)
        unexpected = not isinstance(error, MultiTalkError)
        # the message may quote the input, so it is logged only with LOG_INPUTS
        reason = {"reason": answer["error"]} if self.settings.log_inputs else {}
        log_event(
            "job_failed",
            job_id,
            logging.ERROR if unexpected else logging.WARNING,
            error if answer["error_type"] == "internal" else None,
            error_type=answer["error_type"],
            field=answer["field"],
            **reason,
            **peaks(),
        )
        if unexpected and not await self._device_works(job_id, cancel):
            answer["refresh_worker"] = True
            self.config["refresh_worker"] = True
        return answer

    async def _device_works(self, job_id: str, cancel: threading.Event) -> bool:
        """Return whether the GPU still computes; if not, every later job of this process would fail."""
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

    def _log_start(self, job_id: str, job_input: Any) -> None:
        fields: dict[str, Any] = {}
        if isinstance(job_input, Mapping):
            fields["fields"] = sorted(str(name)[:80] for name in islice(job_input, MAX_LOGGED_NAMES))
            if self.settings.log_inputs:
                speech = job_input.get("speech")
                fields |= {"prompt": job_input.get("prompt"), "speech": speech, "urls": input_urls(job_input)}
        log_event("job_started", job_id, **fields)

    def _log_inputs(self, job_id: str, request: GenerationRequest, elapsed: float) -> None:
        log_event(
            "inputs_read",
            job_id,
            elapsed=round(elapsed, 3),
            picture=list(request.picture_size),
            video_seconds=None if request.video is None else round(request.video.seconds, 3),
            sounds={person: round(sound.seconds, 3) for person, sound in (request.audio or {}).items()},
        )

    def _log_end(self, job_id: str, answer: Mapping[str, Any], elapsed: float) -> None:
        logged = ("seed", "frames", "seconds", "width", "height", "timings", "marks", "watermark")
        places = {"video_url": "bucket", "video_path": "volume"}
        delivery = next((place for name, place in places.items() if name in answer), "inline")
        log_event(
            "job_finished",
            job_id,
            elapsed=round(elapsed, 3),
            delivery=delivery,
            answer_bytes=encoded_size(answer),
            model=answer.get("model"),
            **{name: answer[name] for name in logged},
            **peaks(),
        )
