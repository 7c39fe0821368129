"""Start the worker: settings, weights, then RunPod's SDK, which takes jobs or serves its local API."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, MultiTalkError
from ..marks.settings import check_marks
from ..patches.imports import narrow_runpod
from ..patches.runpod import call_on_shutdown, replace_api_server
from ..runtime.environment import read_text, set_defaults
from ..runtime.process_memory import return_large_blocks
from ..runtime.temporary_folders import remove_abandoned_folders, remove_old_parts
from ..start.cold_start import ColdStart
from .local_job import JOB_FILE, OPTION, prepare_local_job
from .log import log_event, set_up_logging
from .worker_settings import WorkerSettings

if TYPE_CHECKING:
    from ..pipeline.pipeline import MultiTalkPipeline
    from .handler import JobWorker, SendProgress

PART_SECONDS = 24 * 3600  # another worker may be copying a large video to the same volume


def serve(start: ColdStart | None = None) -> int:
    """Run the worker until RunPod or a signal ends it; returns the exit status.

    Args:
        start: Records the startup time and prefetches the weights; None starts both now.
    """
    return_large_blocks()
    start = start or ColdStart()
    set_up_logging()
    on_runpod = is_on_runpod()
    try:
        settings = WorkerSettings.from_environment()
        check_marks()
        check_jobs_come(on_runpod)
        if _runs_one_job(on_runpod):
            prepare_local_job(sys.argv)
    except MultiTalkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    limit_sdk_log()
    threading.Thread(target=remove_leftovers, args=(settings,), daemon=True).start()
    with ThreadPoolExecutor(1) as loader:  # import the SDK while the weights load
        loading = loader.submit(load_pipeline, settings, start)
        with start.stage("import runpod"), narrow_runpod():
            import runpod

        pipeline, failure = loading.result()
    # the fitness checks report the failure to RunPod; other ways to start the worker do not run them
    if pipeline is None and (not on_runpod or read_text("RUNPOD_REALTIME_PORT")):
        print(f"error: {failure}", file=sys.stderr)
        return 1
    config: dict[str, Any] = {"return_aggregate_stream": True}
    if pipeline is not None:
        worker = make_worker(
            pipeline, settings, config, runpod.serverless.progress_update if on_runpod else None
        )
        config["handler"] = worker.stream if settings.stream_clips else worker.handle
        cancel_jobs_on_shutdown(worker, on_runpod)
    from .fitness import fitness_checks

    def report_ready() -> None:
        start.ready()
        log_event("cold_start", **start.report())

    for check in fitness_checks(pipeline, failure, settings):
        runpod.serverless.register_fitness_check(check)
    if on_runpod:  # the checks run before the first job
        runpod.serverless.register_fitness_check(report_ready)
    else:
        report_ready()
    try:
        runpod.serverless.start(config)
    finally:
        if pipeline is not None:
            worker.cancel_all()
    return 0


def cancel_jobs_on_shutdown(worker: JobWorker, on_runpod: bool) -> None:
    """Cancel the worker's jobs on SIGTERM or SIGINT; each job ends with the error type `cancelled`.

    Args:
        worker: The worker.
        on_runpod: Whether jobs come from RunPod, not from the SDK's local API or ``--test_input``.
    """

    def cancel() -> None:
        with contextlib.suppress(RuntimeError):  # no event loop is running, so there are no jobs
            # scheduled on the loop: the signal may have interrupted code that holds an event's lock
            asyncio.get_running_loop().call_soon_threadsafe(worker.cancel_all)

    if on_runpod:
        call_on_shutdown(cancel)
        return
    # the local API's server raises the signal again when it has stopped; --test_input has no other handler
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if not _has_option(OPTION):
        from .local_api import serve_app

        replace_api_server(partial(serve_app, on_stop=cancel))


def remove_leftovers(settings: WorkerSettings) -> None:
    """Remove the files of workers that were killed."""
    remove_abandoned_folders()
    if settings.output_root is not None:
        remove_old_parts(settings.output_root / "multitalk", "*.part", PART_SECONDS)


def is_on_runpod() -> bool:
    """Return whether jobs come from RunPod, not from ``--test_input`` or the local API."""
    return bool(read_text("RUNPOD_WEBHOOK_GET_JOB")) and not _has_local_options()


def _has_local_options() -> bool:
    return _has_option("--rp_serve_api") or _has_option(OPTION)


def _runs_one_job(on_runpod: bool) -> bool:
    """Return whether the SDK reads the job of an option or a file."""
    is_server = _has_option("--rp_serve_api") or bool(read_text("RUNPOD_REALTIME_PORT"))
    return _has_option(OPTION) or not (on_runpod or is_server)


def _has_option(name: str) -> bool:
    return any(argument.startswith(name) for argument in sys.argv[1:])


def check_jobs_come(on_runpod: bool) -> None:
    """Check that the SDK will get jobs, before the weights are loaded.

    Raises:
        InvalidInput: There is no source of jobs.
    """
    if on_runpod or _has_local_options() or read_text("RUNPOD_REALTIME_PORT") or Path(JOB_FILE).is_file():
        return
    raise InvalidInput(
        "The worker has no source of jobs: RUNPOD_WEBHOOK_GET_JOB is not set. Add --rp_serve_api for a local "
        f"API, or {OPTION} 'JSON' to run one job."
    )


def limit_sdk_log() -> None:
    """Keep the SDK from logging whole inputs and outputs, except the output of ``--test_input``."""
    local = _has_option(OPTION)
    if read_text("RUNPOD_DEBUG_LEVEL") is None:
        set_defaults(RUNPOD_LOG_LEVEL="INFO" if local else "WARN")
    set_defaults(DIFFUSERS_VERBOSITY="error")


def load_pipeline(
    settings: WorkerSettings, start: ColdStart
) -> tuple[MultiTalkPipeline | None, Exception | None]:
    """Load the models; returns the pipeline, or the error."""
    started = time.monotonic()
    try:
        pipeline = start.load_pipeline(settings.weights)
    except Exception as error:
        expected = isinstance(error, MultiTalkError)
        log_event("weights_failed", level=logging.ERROR, error=None if expected else error, reason=str(error))
        return None, error
    log_event(
        "weights_loaded",
        elapsed=round(time.monotonic() - started, 3),
        weights=pipeline.folder.manifest.name,
        plan=pipeline.plan.description,
    )
    return pipeline, None


def make_worker(
    pipeline: MultiTalkPipeline,
    settings: WorkerSettings,
    config: dict[str, Any],
    send_progress: SendProgress | None,
) -> JobWorker:
    """Create the worker, and log where videos will be delivered."""
    from .bucket import Bucket
    from .handler import JobWorker

    bucket = None if settings.bucket is None else Bucket(settings.bucket)
    if bucket is None and settings.output_root is None:
        log_event(
            "no_bucket_and_no_volume",
            level=logging.WARNING,
            consequence="only short videos fit into the output",
        )
    log_event(
        "worker_ready",
        streaming=settings.stream_clips,
        delivery="inline" if settings.bucket is None else settings.bucket.name,
    )
    return JobWorker(pipeline, settings, config, bucket, send_progress)
