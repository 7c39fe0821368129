"""The handler around a pipeline that fails in chosen ways: what is answered, and what state is left."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from multitalk.errors import Cancelled, WeightsError
from multitalk.pipeline.progress import Progress
from multitalk.serverless import handler
from multitalk.serverless.handler import JobWorker
from multitalk.serverless.progress import ProgressReporter
from multitalk.serverless.worker_settings import WorkerSettings
from tests.serverless.conftest import job_fields


class Failing:
    """A pipeline whose job ends with an error."""

    fps = 25
    plan = SimpleNamespace(device=torch.device("cpu"))

    def __init__(self, error: Exception) -> None:
        self.error = error

    def generate(self, *_: Any, **__: Any) -> None:
        raise self.error


def answer_to(error: Exception) -> tuple[dict[str, Any], dict[str, Any]]:
    config: dict[str, Any] = {}
    worker = JobWorker(Failing(error), WorkerSettings(), config)  # type: ignore[arg-type]
    return asyncio.run(worker.handle({"id": "job1", "input": job_fields()})), config


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (RuntimeError("secret /opt/models/x.safetensors at 0x7f"), "internal", "job job1"),
        (
            WeightsError("LoRA file /opt/models/loras/x.safetensors is missing."),
            "internal",
            "x.safetensors is",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            "out_of_memory",
            "smaller size",
        ),
        (MemoryError(), "out_of_memory", "frames_per_clip"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "out_of_memory",
            "smaller",
        ),
        (Cancelled("The job was cancelled."), "cancelled", "cancelled"),
    ],
)
def test_every_kind_of_failure_has_its_type_and_a_sentence(error, kind, words):
    answer, config = answer_to(error)
    assert answer["error_type"] == kind
    assert words in answer["error"]
    assert "/opt" not in json.dumps(answer)
    assert "Traceback" not in json.dumps(answer)
    assert config == {}, "the device answers, so the process is fine"


def test_a_broken_device_marks_the_worker_for_refresh(monkeypatch):
    def broken(_device: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(handler, "check_device", broken)
    answer, config = answer_to(RuntimeError("CUDA error: device-side assert triggered"))
    assert answer["error_type"] == "internal"
    assert answer["refresh_worker"] is True
    assert config == {"refresh_worker": True}


def test_a_cancelled_job_ends_when_its_thread_has_and_the_next_one_runs():
    class Waiting(Failing):
        def __init__(self) -> None:
            super().__init__(RuntimeError())
            self.entered, self.left = threading.Event(), threading.Event()

        def generate(
            self, _request: Any, _path: Any, _progress: Any, cancel: Any, *_: Any, **__: Any
        ) -> None:
            self.entered.set()
            cancel.wait(30)
            self.left.set()
            raise Cancelled("The job was cancelled.")

    async def cancel_it() -> bool:
        pipeline = Waiting()
        worker = JobWorker(pipeline, WorkerSettings(), {})  # type: ignore[arg-type]
        task = asyncio.create_task(worker.handle({"id": "job1", "input": job_fields()}))
        while not pipeline.entered.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pipeline.left.is_set()

    assert asyncio.run(cancel_it()), "the models were free before the handler gave way"


def test_a_worker_that_ends_waits_for_no_jobs_files():
    async def end_it() -> list[dict[str, Any]]:
        with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
            settings = WorkerSettings(allowed_networks=(ipaddress.ip_network("127.0.0.0/8"),))
            worker = JobWorker(Failing(RuntimeError()), settings, {})  # type: ignore[arg-type]
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/face.png"
            job = asyncio.create_task(worker.handle({"id": "job1", "input": job_fields(image=url)}))
            await asyncio.get_running_loop().run_in_executor(None, silent.accept)
            worker.cancel_all()
            later = await worker.handle({"id": "job2", "input": job_fields(image=url)})
            silent.setblocking(False)
            with pytest.raises(BlockingIOError):  # nobody has asked for its file
                silent.accept()
            return [await job, later]

    for answer in asyncio.run(end_it()):
        assert answer["error_type"] == "cancelled"
        assert "the worker is shutting down" in answer["error"]


class HandMovedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the test's to move."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def move_to(self, now: float) -> None:
        """Go on to a moment, and run what is due by then."""
        self.now = now
        self.run_until_complete(asyncio.sleep(0))


def test_updates_are_at_least_a_second_apart_and_the_newest_arrives():
    loop, sent = HandMovedLoop(), []
    with contextlib.closing(loop):
        reporter = ProgressReporter(loop, lambda update: sent.append((loop.now, update)), loop.time)
        for step in range(50):
            reporter.on_progress(Progress("denoise", 0, 1, step, 50, step / 50, 1.0))
        reporter.on_url(0, "https://example.com/clip")
        loop.move_to(0.0)
        assert len(sent) == 1, "the first goes at once"
        loop.move_to(0.9)
        assert len(sent) == 1
        loop.move_to(1.0)
        assert len(sent) == 2
        loop.move_to(1.2)
        reporter.on_progress(Progress("decode", 0, 1, 50, 50, 0.9, 1.0))
        loop.move_to(1.3)
        reporter.close()
        loop.move_to(5.0)
    assert [update["step"] for _, update in sent] == [0, 49], "the last one was closed away"
    assert [update["update"] for _, update in sent] == [1, 2]
    assert sent[1][1]["finished_clips"] == [{"clip": 0, "video_url": "https://example.com/clip"}]
    assert sent[1][0] - sent[0][0] >= 1.0
