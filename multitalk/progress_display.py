"""Progress for people at a terminal, and for logs."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from .progress import Progress

SECONDS_BETWEEN_LINES = 5.0


def format_seconds(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def describe(progress: Progress) -> str:
    """Stage, clip, step and the time left in one line."""
    parts = [progress.stage]
    if progress.clips:
        parts.append(f"clip {progress.clip + 1}/{progress.clips}")
    if progress.steps:
        parts.append(f"step {progress.step}/{progress.steps}")
    if progress.eta is not None and progress.stage != "done":
        parts.append(f"{format_seconds(progress.eta)} left")
    return "  ".join(parts)


class ProgressDisplay:
    """A bar on a terminal, plain lines elsewhere; a context manager.

    Args:
        stream: Where it writes.
        quiet: Writes nothing.
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
        """Shows a text until the next update."""
        if self._bar is not None:
            self._bar.set_description_str(text)
        elif not self._quiet:
            print(text, file=self._stream, flush=True)

    def update(self, progress: Progress) -> None:
        """Shows where a job stands: at once on a bar, every few seconds and at new stages in lines."""
        if self._bar is not None:
            self._bar.n = progress.fraction
            self._bar.set_description_str(describe(progress))
        elif not self._quiet and (progress.stage != self._stage or time.monotonic() >= self._next_line):
            self._stage, self._next_line = progress.stage, time.monotonic() + SECONDS_BETWEEN_LINES
            print(f"{progress.fraction:4.0%}  {describe(progress)}", file=self._stream, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
