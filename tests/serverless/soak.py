"""Rounds of large jobs, good and bad, through a worker; run as a process of its own by ``test_soak``.

Usage: python -m tests.serverless.soak WEIGHTS ROUNDS. Prints a line of JSON: what the process held after
each round, the memory of its decoder, and the temporary files that are left.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile
from PIL import Image

from multitalk.pipeline.pipeline import MultiTalkPipeline
from multitalk.serverless.handler import JobWorker
from multitalk.serverless.worker_settings import WorkerSettings
from tests.media.hostile import jpeg_with_scans, png_header, saved, silent_flac
from tests.process_state import ProcessState, state_of
from tests.serverless.conftest import FAST, base64_of, wav

TOGETHER = 2  # jobs at the same time


def photo(kind: str, **options: object) -> str:
    """A picture of 12 megapixels: glibc gives memory of more than 32 MB back at once."""
    small = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return base64_of(saved(Image.fromarray(small).resize((4000, 3000)), kind, **options))


def compressed(seconds: int, **options: str) -> str:
    """A voice in stereo, as a file of libsndfile."""
    noise = np.random.default_rng(1).normal(0, 0.1, (seconds * 48000, 2)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, noise, 48000, **options)
    return base64_of(file.getvalue())


def job(image: str, audio: Any, **fields: Any) -> dict[str, Any]:
    settings = {**FAST, "steps": 1, "frames_per_clip": 5, "motion_frames": 1, "max_seconds": 0.2}
    return {"image": image, "audio": audio, **settings, **fields}


def make_jobs() -> dict[str, dict[str, Any]]:
    jpeg, progressive = photo("JPEG"), photo("JPEG", progressive=True)
    # the samples of each have 12 MB
    wave = base64_of(wav(60, rate=48000))
    flac = compressed(30, format="FLAC")
    mp3 = compressed(30, format="MP3")
    return {
        "good jpeg and wav": job(jpeg, wave),
        "good png and mp3": job(photo("PNG", compress_level=1), mp3),
        "good progressive jpeg and two people": job(progressive, {"person1": flac, "person2": mp3}),
        "good webp and flac": job(photo("WEBP", quality=50, method=0), flac),
        "bad silent flac": job(jpeg, base64_of(silent_flac(30))),
        "bad jpeg with 300 scans": job(base64_of(jpeg_with_scans(300, 2000)), flac),
        "bad header": job(base64_of(png_header(30_000, 30_000)), flac),
        "bad half of a png": job(photo("PNG", compress_level=1)[: 4 * 500_000], mp3),
        "bad second sound": job(jpeg, {"person1": wave, "person2": jpeg}),
        "bad box": job(jpeg, flac, boxes={"person1": [0, 0, 9000, 9000]}),
        "cancelled": job(progressive, {"person1": wave, "person2": wave}),
    }


async def soak(worker: JobWorker, rounds: int) -> list[ProcessState]:
    """Return what the process held after each round."""
    jobs, order = make_jobs(), random.Random(0)
    # the default one adds threads until there are several per processor
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(TOGETHER))

    async def run(name: str, free: asyncio.Semaphore) -> None:
        async with free:
            task = asyncio.create_task(worker.handle({"id": name.replace(" ", "-"), "input": jobs[name]}))
            if name == "cancelled":
                await asyncio.sleep(order.random() / 2)
                task.cancel()
                await asyncio.wait([task])
                return
            answer = await task
        assert answer.get("status", answer.get("error_type")) == expected(name), (name, answer)

    states = []
    for _ in range(rounds):
        free = asyncio.Semaphore(TOGETHER)
        await asyncio.gather(*(run(name, free) for name in order.sample(list(jobs), len(jobs))))
        await asyncio.wrap_future(worker._executor.submit(lambda: None))  # after the release of the last job
        states.append(state_of(os.getpid()))
    return states


def expected(name: str) -> str:
    return "success" if name.startswith("good") else "invalid_input"


def main(weights: str, rounds: str) -> None:
    worker = JobWorker(MultiTalkPipeline.from_pretrained(weights), WorkerSettings(), {})
    states = asyncio.run(soak(worker, int(rounds)))
    decoder = max((child.memory_info().rss for child in psutil.Process().children()), default=0)
    files = [str(path) for path in Path(tempfile.gettempdir()).rglob("*")]
    print(json.dumps({"states": [asdict(state) for state in states], "decoder": decoder, "files": files}))


if __name__ == "__main__":
    main(*sys.argv[1:])
