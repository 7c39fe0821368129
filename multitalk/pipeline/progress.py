"""Progress of a job, its estimated time left, and its cancellation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..errors import Cancelled
from .forecast import Forecast, StageCosts, Times

if TYPE_CHECKING:
    from .results import OnPreview  # imports torch


@dataclass(frozen=True)
class Progress:
    """Progress of a job.

    Attributes:
        stage: "speech", "isolate", "text", "audio", "scenes", "image", "encode", "denoise", "decode",
            "video" or "done".
        clip: Index of the current clip, from 0.
        clips: Number of clips.
        step: Completed sampling steps of the current clip.
        steps: Sampling steps of a clip.
        fraction: Completed share of the time, 0 to 1.
        eta: Estimated seconds left; None before the first measurement, unless the job's time was estimated.
        part: Estimated seconds until the next report.
    """

    stage: str
    clip: int
    clips: int
    step: int
    steps: int
    fraction: float
    eta: float | None
    part: float = 0.0


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
        costs: What the stages are expected to cost; None uses the proportions of their operations.
        on_preview: Called with previews of the clips, if the request asks for them.

    Attributes:
        on_preview: The same.
        timings: Seconds per stage.
        warnings: What the user should know about the result, one sentence each.
    """

    def __init__(
        self,
        on_progress: OnProgress | None,
        cancel: CancelSignal | None,
        costs: StageCosts | None = None,
        on_preview: OnPreview | None = None,
    ) -> None:
        self.on_preview = on_preview
        self.timings: dict[str, float] = {}
        self.warnings: list[str] = []
        self._on_progress = on_progress
        self._cancel = cancel
        self._costs = costs
        self._forecast = Forecast(costs or StageCosts({}))
        self._stage = "text"
        self._clip = self._clips = self._step = self._steps = self._part = 0

    def start_clips(
        self, clips: Sequence[Mapping[str, float]], steps: int, units: Mapping[str, float]
    ) -> None:
        """Start the clips.

        Args:
            clips: Units of each stage, by clip; see :func:`.work.clip_amounts`.
            steps: Sampling steps of a clip.
            units: Operations of a unit of each stage; see :class:`.work.JobWork`.
        """
        self._clips, self._steps = len(clips), steps
        if self._costs is None:
            self._forecast = Forecast(StageCosts(units))
        self._forecast.start_clips(clips)

    def check_cancelled(self) -> None:
        """Raise :class:`Cancelled` if the job is cancelled."""
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled("The job was cancelled.")

    @contextmanager
    def stage(self, name: str, clip: int = 0, parts: Sequence[float] = (1.0,)) -> Iterator[None]:
        """Time a stage and report its start.

        Args:
            name: The stage.
            clip: Index of the clip.
            parts: Weights of the stage's parts, each of which `next_part` or `step_done` reports.
        """
        self.check_cancelled()
        self._stage, self._clip, self._part = name, clip, 0
        if name == "encode":
            self._step = 0
        self._report(self._forecast.start(name, clip, parts))
        with self.timed(name):
            yield
        self._forecast.finish()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time within the context to a stage, without a report."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - started

    def next_part(self) -> None:
        """Report that a part of the stage starts; raises :class:`Cancelled` if the job is cancelled."""
        self.check_cancelled()
        self._report(self._forecast.finish(self._part))
        self._part += 1

    def step_done(self, step: int) -> None:
        """Report the number of completed steps of the clip."""
        self._step = step
        self._report(self._forecast.finish(step))

    def finished(self) -> None:
        """Report that the last clip is complete."""
        self._stage = "done"
        self._report(self._forecast.end())

    def _report(self, times: Times) -> None:
        if self._on_progress is not None:
            self._on_progress(
                Progress(
                    *(self._stage, self._clip, self._clips, self._step, self._steps),
                    *(times.fraction, times.left, times.part),
                )
            )
