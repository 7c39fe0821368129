"""Refused jobs leave nothing behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from multitalk.serverless.handler import JobWorker
from multitalk.serverless.worker_settings import WorkerSettings
from tests.media.hostile import jpeg_with_scans, saved, silent_flac
from tests.process_state import ProcessState, state_of, trend
from tests.serverless.conftest import base64_of, job_fields, wav
from tests.serverless.test_bad_inputs import NoModels

PHOTO = base64_of(saved(Image.new("RGB", (3000, 2000), "gray"), "JPEG"))
HALF_A_MINUTE = base64_of(wav(30, rate=48000))


def two_people(second: str) -> dict[str, Any]:
    return job_fields(image=PHOTO, audio={"person1": HALF_A_MINUTE, "person2": second})


REFUSED: dict[str, Callable[[], dict[str, Any]]] = {
    "silent": lambda: job_fields(image=PHOTO, audio=base64_of(silent_flac(5))),
    "damaged second sound": lambda: two_people(base64_of(b"x" * 100_000)),
    "box outside": lambda: job_fields(image=PHOTO, boxes={"person1": [0, 0, 9000, 10]}),
    "too many scans": lambda: job_fields(image=base64_of(jpeg_with_scans(300, 1000))),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_jobs_leave_no_memory_behind(kind: str) -> None:
    worker = JobWorker(NoModels(), WorkerSettings(), {})  # type: ignore[arg-type]
    job = {"id": "refused", "input": REFUSED[kind]()}

    async def refuse(count: int) -> None:
        for _ in range(count):
            answer = await worker.handle(job)
            assert answer["error_type"] == "invalid_input", answer

    async def states() -> list[ProcessState]:
        # the default one adds threads until there are several per processor
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        await refuse(5)
        states = [state_of(os.getpid())]
        for _ in range(25):
            await refuse(1)
            states.append(state_of(os.getpid()))
        return states

    before, *_, after = measured = asyncio.run(states())
    # one picture has 24 MB, the smallest sound 6 MB
    assert trend([each.memory for each in measured]) < 160_000  # bytes a refusal
    assert (after.files, after.threads, after.children) == (before.files, before.threads, before.children)
