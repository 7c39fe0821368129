"""Fitness checks before the first job, and memory between jobs."""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import WeightsError
from ..runtime.process_memory import peak_memory, trim
from ..runtime.temporary_folders import temporary_folder
from .log import log_event

if TYPE_CHECKING:
    import torch

    from ..pipeline.pipeline import MultiTalkPipeline
    from .worker_settings import WorkerSettings


def fitness_checks(
    pipeline: MultiTalkPipeline | None, failure: Exception | None, settings: WorkerSettings
) -> list[Callable[[], None]]:
    """Return the checks for ``runpod.serverless.register_fitness_check``; each raises on failure.

    Args:
        pipeline: The loaded models; None if loading failed.
        failure: Why loading failed. It is reported to RunPod, and the worker exits before it takes a job.
        settings: Selects the checks.
    """

    def check_weights() -> None:
        if failure is not None or pipeline is None:
            raise failure or WeightsError("The weights are not loaded.")
        # sizes and tensors were compared while loading
        if settings.fitness_hashes:
            _timed("hashes_checked", lambda: check_hashes(pipeline.folder.path))

    def check_gpu() -> None:
        if pipeline is not None:
            check_device(pipeline.plan.device)

    def check_job() -> None:
        if pipeline is not None and settings.fitness_job:
            _timed("fitness_job_done", lambda: run_smallest_job(pipeline))

    return [check_weights, check_gpu, check_job]


def check_hashes(folder: Path) -> None:
    """Compare the SHA-256 of every weights file with the manifest.

    Raises:
        WeightsError: A file is damaged.
    """
    from ..weights.verify import verify

    if problems := verify(folder):
        raise WeightsError(problems[0])


def run_smallest_job(pipeline: MultiTalkPipeline) -> None:
    """Generate five frames of 64x64 pixels in one step: runs every model once and warms up the kernels."""
    import numpy as np
    from PIL import Image

    from ..media.sound import Sound
    from ..request.generation_request import GenerationRequest

    tone = 0.1 * np.sin(np.arange(3200, dtype=np.float32) / 16)[:, None]
    request = GenerationRequest(
        image=Image.new("RGB", (64, 64), "gray"),
        audio={"person1": Sound(tone, 16000)},
        size=(64, 64),
        steps=1,
        frames_per_clip=5,
        motion_frames=1,
    )
    with temporary_folder("fitness") as folder:
        pipeline.generate(request, folder / "fitness.mp4")
    release()


def _timed(event: str, work: Callable[[], None]) -> None:
    started = time.monotonic()
    work()
    log_event(event, elapsed=round(time.monotonic() - started, 3))


_RESET_PEAK = Path("/proc/self/clear_refs")


def reset_peaks() -> None:
    """Start measuring a job's peak memory; without system support the process's peak is reported."""
    with contextlib.suppress(OSError):
        _RESET_PEAK.write_text("5")
    cuda = _cuda()
    if cuda is not None:
        with contextlib.suppress(RuntimeError):  # a broken CUDA context is detected by check_device
            cuda.reset_peak_memory_stats()


def peaks() -> dict[str, Any]:
    """Return peak memory in bytes since ``reset_peaks``, of the process and of the GPU, if any."""
    measured: dict[str, Any] = {}
    if (peak := peak_memory()) is not None:
        measured["peak_memory"] = peak
    cuda = _cuda()
    if cuda is not None:
        with contextlib.suppress(RuntimeError):
            measured["peak_gpu_memory"] = int(cuda.max_memory_allocated())
    return measured


def release() -> None:
    """Free what a finished job leaves: reference cycles, cached GPU blocks, free pages of the C library."""
    gc.collect()
    cuda = _cuda()
    if cuda is not None:
        with contextlib.suppress(RuntimeError):
            cuda.empty_cache()
    trim()


def check_device(device: torch.device) -> None:
    """Run a small computation on the model's device.

    Raises:
        RuntimeError: The computation failed. After some errors (an illegal address, a failed assertion) every
            later CUDA call of the process fails, and only a new process helps.
    """
    import torch

    total = torch.arange(8, device=device).sum().item()
    if total != 28:
        raise RuntimeError(f"{device} computed {total} instead of 28")


def _cuda() -> Any:
    """Return ``torch.cuda`` if it is in use, else None."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return torch.cuda
