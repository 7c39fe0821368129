"""Starts the worker: settings, weights, then RunPod's SDK, which takes jobs or serves its local API."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, MultiTalkError
from ..start.cold_start import ColdStart
from .log import log_event, set_up_logging
from .worker_settings import WorkerSettings

if TYPE_CHECKING:
    from ..pipeline.pipeline import MultiTalkPipeline
    from .handler import JobWorker, SendProgress


def serve(start: ColdStart | None = None) -> int:
    """Run the worker until RunPod or a signal ends it; returns the exit status.

    Args:
        start: What keeps the start's time and already reads the weights.
    """
    start = start or ColdStart()
    set_up_logging()
    on_runpod = is_on_runpod()
    try:
        settings = WorkerSettings.from_environment()
        check_jobs_come(on_runpod)
    except InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    quieten()
    with ThreadPoolExecutor(1) as loader:  # importing the SDK takes seconds, which reading weights needs, too
        loading = loader.submit(load_pipeline, settings, start)
        with start.stage("import runpod"):
            import runpod

        pipeline, failure = loading.result()
    # fitness checks tell RunPod why a worker can't start, but no one runs them for the other ways to start
    if pipeline is None and (not on_runpod or "RUNPOD_REALTIME_PORT" in os.environ):
        print(f"error: {failure}", file=sys.stderr)
        return 1
    config: dict[str, Any] = {"return_aggregate_stream": True}
    if pipeline is not None:
        worker = make_worker(
            pipeline, settings, config, runpod.serverless.progress_update if on_runpod else None
        )
        config["handler"] = worker.stream if settings.stream_clips else worker.handle
        if on_runpod:
            end_jobs_with_worker(worker)
    from .fitness import fitness_checks

    def report_ready() -> None:
        start.ready()
        log_event("cold_start", **start.report())

    for check in fitness_checks(pipeline, failure, settings):
        runpod.serverless.register_fitness_check(check)
    if on_runpod:  # where the checks run before the first job
        runpod.serverless.register_fitness_check(report_ready)
    else:
        report_ready()
    try:
        runpod.serverless.start(config)
    finally:
        if pipeline is not None:
            worker.cancel_all()
    return 0


def end_jobs_with_worker(worker: JobWorker) -> None:
    """Let the signal that ends a worker end its jobs, too.

    The SDK's own handler takes no new job and waits for the running one to finish, which may take longer than
    RunPod waits. It still waits, but for the answer `cancelled`.
    """
    from runpod.serverless.modules.rp_scale import JobScaler

    shut_down = JobScaler.handle_shutdown

    def handle_shutdown(scaler: JobScaler, number: int, frame: Any) -> None:
        shut_down(scaler, number, frame)
        with contextlib.suppress(RuntimeError):  # no loop runs yet, and so no job
            # from the loop, not from here: the signal may have interrupted what holds an event's lock
            asyncio.get_running_loop().call_soon_threadsafe(worker.cancel_all)

    JobScaler.handle_shutdown = handle_shutdown


def is_on_runpod() -> bool:
    """Whether jobs come from RunPod; else from ``--test_input`` or the local API."""
    return bool(os.environ.get("RUNPOD_WEBHOOK_GET_JOB")) and not _named_by_options()


def _named_by_options() -> bool:
    return any(argument.startswith(("--rp_serve_api", "--test_input")) for argument in sys.argv[1:])


def check_jobs_come(on_runpod: bool) -> None:
    """Make sure that there will be jobs, before minutes go into weights.

    Raises:
        InvalidInput: The SDK would find none.
    """
    if (
        on_runpod
        or _named_by_options()
        or "RUNPOD_REALTIME_PORT" in os.environ
        or Path("test_input.json").is_file()
    ):
        return
    raise InvalidInput(
        "No jobs will come: RUNPOD_WEBHOOK_GET_JOB isn't set, so this isn't RunPod. Add --rp_serve_api for "
        "an API on this machine, or --test_input 'JSON' for one job."
    )


def quieten() -> None:
    """Keep the SDK from logging whole inputs and results, as it does by default.

    Its results are what ``--test_input`` is run for, so there they stay.
    """
    local = any(argument.startswith("--test_input") for argument in sys.argv[1:])
    if "RUNPOD_DEBUG_LEVEL" not in os.environ:
        os.environ.setdefault("RUNPOD_LOG_LEVEL", "INFO" if local else "WARN")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")


def load_pipeline(
    settings: WorkerSettings, start: ColdStart
) -> tuple[MultiTalkPipeline | None, Exception | None]:
    """Load the models; the pipeline, or why there is none."""
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
    """The worker on loaded models; says where its videos will go."""
    from .bucket import Bucket
    from .handler import JobWorker

    bucket = None if settings.bucket is None else Bucket(settings.bucket)
    if bucket is None and settings.output_root is None:
        log_event(
            "no_bucket_and_no_volume", level=logging.WARNING, consequence="only short videos fit an answer"
        )
    log_event(
        "worker_ready",
        streaming=settings.stream_clips,
        delivery="inline" if settings.bucket is None else settings.bucket.name,
    )
    return JobWorker(pipeline, settings, config, bucket, send_progress)
