"""The time of a running job as the page shows it: a bar that keeps moving and a countdown."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..pipeline.forecast import expected_progress

if TYPE_CHECKING:
    from ..pipeline.progress import Progress

# The countdown is corrected upwards only if the forecast is this much longer: a factor, and seconds.
LONGER, MUCH = 1.25, 2.0
CATCH_UP_SECONDS = 4.0  # the countdown stands still if the forecast is this much longer
EXPLAINED_SECONDS = 6.0  # how long the reason for a correction is shown
FINISHING_SECONDS = 1.5


@dataclass(frozen=True)
class ShownTime:
    """What the page shows.

    Attributes:
        fraction: Completed share of the time, 0 to 1.
        left: Seconds left; None if unknown.
        slower: Whether the countdown was corrected upwards a moment ago.
    """

    fraction: float
    left: float | None
    slower: bool = False


class JobClock:
    """Continues the pipeline's forecast between two reports.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: tuple[Progress, float] | None = None
        self._shown: float | None = None
        self._shown_at = 0.0
        self._corrected_at = -math.inf

    def note(self, progress: Progress) -> None:
        """Take a report of the pipeline."""
        self._latest = progress, self._clock()

    def show(self) -> ShownTime:
        """Return what to show now."""
        if self._latest is None:
            return ShownTime(0.0, None)
        progress, at = self._latest
        if progress.eta is None:
            return ShownTime(progress.fraction, None)
        now = self._clock()
        done = min(expected_progress(now - at, progress.part), progress.eta)
        share = done / progress.eta if progress.eta > 0 else 1.0
        with self._lock:
            left = self._count_down(progress.eta - done, now)
        slower = now - self._corrected_at < EXPLAINED_SECONDS
        return ShownTime(progress.fraction + (1 - progress.fraction) * share, left, slower)

    def _count_down(self, forecast: float, now: float) -> float:
        """Return the seconds to show: they follow the forecast, but increase only if it is much longer."""
        if self._shown is None or self._shown > LONGER * forecast + MUCH:
            shown = forecast
        else:
            ahead = self._shown - forecast
            pace = max(0.0, 1 + ahead / CATCH_UP_SECONDS)
            shown = self._shown - pace * (now - self._shown_at)
            shown = max(shown, 0.0 if ahead < 0 else min(forecast, self._shown))
            if forecast > LONGER * shown + MUCH:
                shown, self._corrected_at = forecast, now
        self._shown, self._shown_at = shown, now
        return shown


def describe_left(seconds: float | None) -> str:
    """Return a text such as "about 25 s left"; empty if the time is unknown or the job is about to end."""
    if seconds is None or seconds <= FINISHING_SECONDS:
        return ""
    if seconds <= 20:
        return f"about {round(seconds)} s left"
    if seconds < 57.5:
        return f"about {5 * round(seconds / 5)} s left"
    if seconds < 10 * 60:
        minutes, rest = divmod(10 * round(seconds / 10), 60)
        return f"about {minutes} min {rest} s left" if rest else f"about {minutes} min left"
    if seconds < 60 * 60:
        return f"about {round(seconds / 60)} min left"
    return f"about {seconds / 3600:.1f} h left"
