"""Forecast of a job's time: what its stages are expected to take, corrected by what they take.

The estimates of the page, the progress bars and the time left all use it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# An expectation counts as much as a measurement of this share of a clip.
TRUST = 0.1
# Seconds of measurements that correct the expectations of other stages by half, if past runs were measured.
DOUBT = 5.0
# The speed of the last seconds counts for a measurement of this age as much as 1/e for a new one.
MEMORY = 8.0
# Seconds of measurements at the job's average speed that the speed of the last seconds is averaged with.
STEADY = 0.5
# The machine returns from the speed of the last seconds to the job's average speed within this many seconds.
RETURN = 20.0
# A part is shown as at most this share done until it is.
ALMOST = 0.9


@dataclass(frozen=True)
class StageCosts:
    """What the stages of a job are expected to cost.

    Attributes:
        units: Cost of a unit of each stage; see :class:`.work.JobWork`.
        clips: Expected seconds of all clips; None if the costs are not seconds, but only proportions.
        preparation: Expected seconds before the first clip.
        doubt: Seconds of measurements that correct the expectations of other stages by half.
    """

    units: Mapping[str, float]
    clips: float | None = None
    preparation: float = 0.0
    doubt: float = DOUBT


@dataclass(frozen=True)
class Times:
    """State of a job at its latest report.

    Attributes:
        fraction: Completed share of the time, 0 to 1.
        left: Seconds left; None if nothing was measured and no cost is known in seconds.
        part: Expected seconds until the next report.
    """

    fraction: float
    left: float | None
    part: float


def expected_progress(seconds: float, part: float) -> float:
    """Return how much of a part's expected time counts as done this many seconds after its start.

    A part that takes longer than expected slows down instead of ending.
    """
    if part <= 0:
        return 0.0
    early = min(seconds, ALMOST * part)
    late = max(0.0, seconds - early)
    return early + (1 - ALMOST) * part * (1 - math.exp(-late / ((1 - ALMOST) * part)))


class Forecast:
    """Measures the stages of a job and forecasts its end.

    Args:
        costs: The expectations.
        clock: Returns seconds.
    """

    def __init__(self, costs: StageCosts, clock: Callable[[], float] = time.monotonic) -> None:
        self._costs, self._clock = costs, clock
        self._clips: list[dict[str, float]] = []
        self._measured: dict[str, tuple[float, float]] = {}  # by stage: units, seconds
        self._recent = (0.0, 0.0)  # seconds of the last measurements, and those at the job's average speed
        self._parts: tuple[float, ...]
        self._stage, self._clip, self._parts, self._finished = "", 0, (1.0,), 0
        self._begun = self._mark = self._reported = clock()
        self._times: Times = Times(0.0, None, 0.0)
        if costs.clips is not None:
            self._times = Times(0.0, costs.preparation + costs.clips, costs.preparation)

    def start_clips(self, clips: Sequence[Mapping[str, float]]) -> None:
        """Set the number of units of each stage for every clip."""
        self._clips = [dict(clip) for clip in clips]

    def start(self, stage: str, clip: int, parts: Sequence[float] = (1.0,)) -> Times:
        """Start a stage that consists of parts with these weights."""
        self._stage, self._clip, self._parts, self._finished = stage, clip, tuple(parts), 0
        self._mark = self._clock()
        return self._report()

    def finish(self, parts: int | None = None) -> Times:
        """Set the number of finished parts of the current stage; None: all."""
        parts = len(self._parts) if parts is None else min(parts, len(self._parts))
        now = self._clock()
        if parts > self._finished and self._clips:
            units = self._share(self._finished, parts) * self._amount(self._stage, self._clip)
            self._measure(units, now - self._mark)
            self._mark, self._finished = now, parts
        return self._report()

    def _measure(self, units: float, seconds: float) -> None:
        """Take the time of units of the current stage."""
        before = self._measured.get(self._stage, (0.0, 0.0))
        self._measured[self._stage] = (before[0] + units, before[1] + seconds)
        average = units * (self._rate(self._stage) or 0.0)
        faded = math.exp(-seconds / MEMORY)
        self._recent = (self._recent[0] * faded + seconds, self._recent[1] * faded + average)

    def end(self) -> Times:
        """Report that the last clip is complete."""
        self._times = Times(1.0, 0.0, 0.0)
        return self._times

    def _report(self) -> Times:
        """Advance the fraction by the time since the last report, and forecast again."""
        now, last = self._clock(), self._times
        fraction = last.fraction
        if last.left:
            done = expected_progress(now - self._reported, last.part)
            fraction += (1 - fraction) * min(done / last.left, 1.0)
        self._reported = now
        left, part = self._forecast(now)
        self._times = Times(fraction, left, part)
        return self._times

    def _forecast(self, now: float) -> tuple[float | None, float]:
        """Return the seconds left, and those of the current part."""
        costs = self._costs
        if not self._clips:
            if costs.clips is None:
                return None, 0.0
            # the stages before the first clip are short, so they count as one part
            part = costs.preparation - expected_progress(now - self._begun, costs.preparation)
            return part + costs.clips, part
        rates = {stage: self._rate(stage) for stage in self._clips[0]}
        if any(rate is None for rate in rates.values()):
            return None, 0.0
        left = part = 0.0
        stages = list(self._clips[0])
        for clip in range(self._clip, len(self._clips)):
            for stage in stages:
                seconds = self._amount(stage, clip) * (rates[stage] or 0.0)
                if clip == self._clip and self._stage in stages:
                    if stages.index(stage) < stages.index(self._stage):
                        continue
                    if stage == self._stage:
                        part = seconds * self._share(self._finished, self._finished + 1)
                        seconds *= self._share(self._finished)
                left += seconds
        return self._at_recent_speed(left), self._at_recent_speed(part)

    def _at_recent_speed(self, seconds: float) -> float:
        """Return how long something takes that takes this many seconds at the job's average speed.

        Other programs slow a machine down for a while: it goes on as in the last seconds, and returns to the
        average.
        """
        slowness = (self._recent[0] + STEADY) / (self._recent[1] + STEADY)
        return seconds + (slowness - 1) * RETURN * (1 - math.exp(-seconds / RETURN))

    def _share(self, first: int, last: int | None = None) -> float:
        """Return the share of the current stage's work that a range of its parts has."""
        return sum(self._parts[first:last]) / sum(self._parts)

    def _amount(self, stage: str, clip: int) -> float:
        return self._clips[clip].get(stage, 0.0)

    def _rate(self, stage: str) -> float | None:
        """Return the seconds of a unit: measured, expected, or both; None if it is unknown."""
        units, seconds = self._measured.get(stage, (0.0, 0.0))
        cost = self._costs.units.get(stage)
        if cost is None:  # short stages that nothing is known about
            return seconds / units if units else 0.0
        scale = self._scale()
        if scale is None:
            return None
        weight = TRUST * self._amount(stage, self._clip)
        return (weight * cost * scale + seconds) / (weight + units)

    def _scale(self) -> float | None:
        """Return the ratio of the measured to the expected times, or the seconds of a unit of cost."""
        counted = {stage: value for stage, value in self._measured.items() if stage in self._costs.units}
        seconds = sum(value for _, value in counted.values())
        expected = sum(self._costs.units[stage] * units for stage, (units, _) in counted.items())
        if self._costs.clips is not None:
            return (seconds + self._costs.doubt) / (expected + self._costs.doubt)
        return seconds / expected if expected > 0 else None
