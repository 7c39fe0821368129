"""Progress of a job, its estimated time left, and its cancellation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from ..errors import Cancelled

# Estimated work of a clip's other stages, in model calls; the time left is measured.
ENCODE_WORK = 1.0
DECODE_WORK = 1.0


@dataclass(frozen=True)
class Progress:
    """Progress of a job.

    Attributes:
        stage: "speech", "text", "audio", "image", "encode", "denoise", "decode", "video" or "done".
        clip: Index of the current clip, from 0.
        clips: Number of clips.
        step: Completed sampling steps of the current clip.
        steps: Sampling steps of a clip.
        fraction: Completed share of the work, 0 to 1.
        eta: Estimated seconds left; None before the first clip has made progress.
    """

    stage: str
    clip: int
    clips: int
    step: int
    steps: int
    fraction: float
    eta: float | None


class CancelSignal(Protocol):
    """Any object with ``is_set``, such as ``threading.Event``."""

    def is_set(self) -> bool:
        """Return whether to stop."""
        ...


OnProgress = Callable[[Progress], None]


class JobMonitor:
    """Reports progress, times the stages and stops a cancelled job.

    Args:
        on_progress: Called at every change.
        cancel: Checked before every model call.

    Attributes:
        timings: Seconds per stage.
        warnings: What the user should know about the result, one sentence each.
    """

    def __init__(self, on_progress: OnProgress | None, cancel: CancelSignal | None) -> None:
        self.timings: dict[str, float] = {}
        self.warnings: list[str] = []
        self._on_progress = on_progress
        self._cancel = cancel
        self._stage = "text"
        self._clip = self._clips = self._step = self._steps = 0
        self._work_per_step = 1.0
        self._clips_started = time.monotonic()

    def start_clips(self, clips: int, steps: int, branches: int) -> None:
        """Start the clips; `branches` is the number of guidance branches."""
        self._clips, self._steps, self._work_per_step = clips, steps, float(branches)
        self._clips_started = time.monotonic()

    def check_cancelled(self) -> None:
        """Raise :class:`Cancelled` if the job is cancelled."""
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled("The job was cancelled.")

    @contextmanager
    def stage(self, name: str, clip: int = 0) -> Iterator[None]:
        """Time a stage and report its start."""
        self.check_cancelled()
        self._stage, self._clip = name, clip
        if name == "encode":
            self._step = 0
        self._report(done=self._clip_work_before(name))
        with self.timed(name):
            yield

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time within the context to a stage, without a report."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - started

    def step_done(self, step: int) -> None:
        """Report the number of completed steps of the clip."""
        self._step = step
        self._report(done=ENCODE_WORK + step * self._work_per_step)

    def finished(self) -> None:
        """Report that the last clip is complete."""
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
