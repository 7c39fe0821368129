"""Report a job's progress to RunPod, at most once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ..pipeline.progress import Progress

INTERVAL = 1.0

Send = Callable[[dict[str, Any]], None]


class ProgressReporter:
    """Send progress updates, at most one per second; a newer update replaces a waiting one.

    RunPod does not keep updates in order, so they are numbered.

    Args:
        loop: The event loop that sends updates; they arrive from the job's thread.
        send: Sends an update without blocking.
        clock: Returns seconds.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, send: Send, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._loop, self._send, self._clock = loop, send, clock
        self._sent_at: float | None = None
        self._waiting: dict[str, Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0
        self._latest: dict[str, Any] = {}
        self._clips: list[dict[str, Any]] = []
        self._closed = False

    def on_progress(self, progress: Progress) -> None:
        """Report the pipeline's progress; thread-safe."""
        self._loop.call_soon_threadsafe(self._update, describe_progress(progress), None)

    def on_url(self, clip: int, url: str) -> None:
        """Report the URL of an uploaded clip; thread-safe."""
        self._loop.call_soon_threadsafe(self._update, None, {"clip": clip, "video_url": url})

    def close(self) -> None:
        """Stop sending: an update that arrives after the result could replace it."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _update(self, latest: dict[str, Any] | None, clip: dict[str, Any] | None) -> None:
        if self._closed:
            return
        if latest is not None:
            if latest["stage"] == "done":  # the result follows
                return
            self._latest = latest
        if clip is not None:
            self._clips.append(clip)
        self._waiting = dict(self._latest)
        if self._clips:
            self._waiting["finished_clips"] = list(self._clips)
        self._send_or_wait()

    def _send_or_wait(self) -> None:
        if self._timer is not None or self._waiting is None:
            return
        pause = 0.0 if self._sent_at is None else self._sent_at + INTERVAL - self._clock()
        if pause > 0:
            self._timer = self._loop.call_later(pause, self._on_timer)
            return
        self._number += 1
        self._sent_at = self._clock()
        update, self._waiting = self._waiting | {"update": self._number}, None
        self._send(update)

    def _on_timer(self) -> None:
        self._timer = None
        self._send_or_wait()


def describe_progress(progress: Progress) -> dict[str, Any]:
    """Describe progress as the output of a running job."""
    return {
        "stage": progress.stage,
        "clip": progress.clip,
        "clips": progress.clips,
        "step": progress.step,
        "steps": progress.steps,
        "fraction": round(progress.fraction, 4),
        "eta": None if progress.eta is None else round(progress.eta, 1),
    }
