"""Progress of a job: how far, how long still, and whether to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from ..errors import Cancelled

# Work of a clip's other stages in model calls, near enough for a bar; the time left is measured.
ENCODE_WORK = 1.0
DECODE_WORK = 1.0


@dataclass(frozen=True)
class Progress:
    """Where a job stands.

    Attributes:
        stage: What runs: "speech", "text", "audio", "image", "encode", "denoise", "decode", "video", "done".
        clip: Number of the clip, from 0.
        clips: Clips there will be.
        step: Sampling steps of the clip that are done.
        steps: Sampling steps of a clip.
        fraction: Share of the work that is done, 0 to 1.
        eta: Seconds left, or None before there is anything to tell it from.
    """

    stage: str
    clip: int
    clips: int
    step: int
    steps: int
    fraction: float
    eta: float | None


class CancelSignal(Protocol):
    """Anything with ``is_set``, such as ``threading.Event``."""

    def is_set(self) -> bool:
        """Whether to stop."""
        ...


OnProgress = Callable[[Progress], None]


class JobMonitor:
    """Reports progress, keeps the time of each stage and raises when the job is cancelled.

    Args:
        on_progress: Called at every change, or None.
        cancel: Asked before every model call, or None.
    """

    def __init__(self, on_progress: OnProgress | None, cancel: CancelSignal | None) -> None:
        self.timings: dict[str, float] = {}
        self._on_progress = on_progress
        self._cancel = cancel
        self._stage = "text"
        self._clip = self._clips = self._step = self._steps = 0
        self._work_per_step = 1.0
        self._clips_started = time.monotonic()

    def start_clips(self, clips: int, steps: int, branches: int) -> None:
        """Tell how much there is to do, when the first clip begins."""
        self._clips, self._steps, self._work_per_step = clips, steps, float(branches)
        self._clips_started = time.monotonic()

    def check_cancelled(self) -> None:
        """Raise :class:`Cancelled` if the caller wants the job to stop."""
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled("The job was cancelled.")

    @contextmanager
    def stage(self, name: str, clip: int = 0) -> Iterator[None]:
        """Time a stage and report its beginning."""
        self.check_cancelled()
        self._stage, self._clip = name, clip
        if name == "encode":
            self._step = 0
        self._report(done=self._clip_work_before(name))
        with self.timed(name):
            yield

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count what happens inside to a stage's time, without a report."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - started

    def step_done(self, step: int) -> None:
        """Report that so many steps of the clip are done."""
        self._step = step
        self._report(done=ENCODE_WORK + step * self._work_per_step)

    def finished(self) -> None:
        """Report that the last clip is done."""
        self._stage = "done"
        self._report(done=self._work_per_clip)

    @property
    def _work_per_clip(self) -> float:
        return ENCODE_WORK + self._steps * self._work_per_step + DECODE_WORK

    def _clip_work_before(self, stage: str) -> float:
        if stage == "video":
            return self._work_per_clip
        if stage == "decode":
            return self._work_per_clip - DECODE_WORK
        return ENCODE_WORK if stage == "denoise" else 0.0

    def _report(self, done: float) -> None:
        if self._on_progress is None:
            return
        fraction, eta = 0.0, None
        if self._clips:
            fraction = (self._clip * self._work_per_clip + done) / (self._clips * self._work_per_clip)
            if fraction > 0:
                eta = (time.monotonic() - self._clips_started) * (1 - fraction) / fraction
        self._on_progress(
            Progress(self._stage, self._clip, self._clips, self._step, self._steps, min(fraction, 1.0), eta)
        )
