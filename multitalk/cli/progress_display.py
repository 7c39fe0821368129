"""Progress on a terminal and in logs."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from ..pipeline.progress import Progress

SECONDS_BETWEEN_LINES = 5.0


def format_seconds(seconds: float) -> str:
    """Format seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def describe(progress: Progress) -> str:
    """Format stage, clip, step and time left in one line."""
    parts = [progress.stage]
    if progress.clips:
        parts.append(f"clip {progress.clip + 1}/{progress.clips}")
    if progress.steps:
        parts.append(f"step {progress.step}/{progress.steps}")
    if progress.eta is not None and progress.stage != "done":
        parts.append(f"{format_seconds(progress.eta)} left")
    return "  ".join(parts)


class ProgressDisplay:
    """A context manager that shows a progress bar on a terminal and prints plain lines elsewhere.

    Args:
        stream: The output stream.
        quiet: Whether to print nothing.
    """

    def __init__(self, stream: TextIO, quiet: bool = False) -> None:
        self._stream = stream
        self._quiet = quiet
        self._bar: Any = None
        self._stage = ""
        self._next_line = 0.0

    def __enter__(self) -> ProgressDisplay:
        if not self._quiet and self._stream.isatty():
            from tqdm import tqdm

            layout = "{percentage:3.0f}% |{bar:30}| {desc} "
            self._bar = tqdm(total=1.0, bar_format=layout, file=self._stream, leave=False)
        return self

    def message(self, text: str) -> None:
        """Show a text on the bar until the next update; without a bar, nothing is printed."""
        if self._bar is not None:
            self._bar.set_description_str(text)

    def update(self, progress: Progress) -> None:
        """Show the progress of a job."""
        self.show(progress.stage, progress.fraction, describe(progress))

    def show(self, stage: str, fraction: float, text: str | None = None) -> None:
        """Show progress: on a bar at once, in lines at each new stage and every few seconds.

        Args:
            stage: Name of the stage.
            fraction: Completed share of the work, 0 to 1.
            text: Text to show; None shows the stage.
        """
        if self._bar is not None:
            self._bar.n = fraction
            self._bar.set_description_str(text or stage)
        elif not self._quiet and (stage != self._stage or time.monotonic() >= self._next_line):
            self._stage, self._next_line = stage, time.monotonic() + SECONDS_BETWEEN_LINES
            print(f"{fraction:4.0%}  {text or stage}", file=self._stream, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
