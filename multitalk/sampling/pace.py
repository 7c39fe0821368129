"""Limits how far the host queues work ahead of the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch


class DeviceEvent(Protocol):
    """A point in the device's queue, such as a CUDA event."""

    def synchronize(self) -> None:
        """Wait until the device has reached this point."""
        ...


def record_event(device: torch.device) -> DeviceEvent | None:
    """Record an event after all queued work; None on devices that compute synchronously."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event(blocking=True)  # the waiting thread sleeps: the video encoder needs the core
    event.record(torch.cuda.current_stream(device))
    return event


class CallPace:
    """Lets the host queue at most one model call ahead of the device.

    With a longer queue, progress would report steps that have not started, and a cancelled job would
    continue. While the host waits for a call, the next one is already queued, so the device is never idle.

    Args:
        after_step: Called with the number of steps that the device has finished.
        record: Records an event after all queued work; returns None on a synchronous device.
    """

    def __init__(self, after_step: Callable[[int], None], record: Callable[[], DeviceEvent | None]) -> None:
        self._after_step = after_step
        self._record = record
        self._pending: tuple[DeviceEvent, int | None] | None = None

    def queued(self, last_of_step: int | None) -> None:
        """Wait for the previous call, after another one was queued.

        Args:
            last_of_step: Number of the step, from 1, if the queued call is its last one; otherwise None.
        """
        event = self._record()
        if event is None:
            self._finished(last_of_step)
            return
        self.finish()
        self._pending = (event, last_of_step)

    def finish(self) -> None:
        """Wait for the last queued call."""
        if self._pending is not None:
            event, last_of_step = self._pending
            self._pending = None
            event.synchronize()
            self._finished(last_of_step)

    def _finished(self, step: int | None) -> None:
        if step is not None:
            self._after_step(step)
