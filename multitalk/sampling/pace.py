"""Keeping step with a device that works behind the host's back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch


class Mark(Protocol):
    """A place in the device's queue, such as a CUDA event."""

    def synchronize(self) -> None:
        """Wait until the device has come there."""
        ...


def cuda_mark(device: torch.device) -> Mark | None:
    """A mark behind all that is queued so far; None where the device works at once."""
    if device.type != "cuda":
        return None
    mark = torch.cuda.Event(blocking=True)  # whoever waits sleeps: the video encoder needs the core
    mark.record(torch.cuda.current_stream(device))
    return mark


class CallPace:
    """Lets the host queue one model call ahead of the device, and no more.

    Without it the host would queue as much as fits: progress would tell of steps that haven't begun, and a
    cancelled job would go on. While it waits for a call, the next one is queued already, so the device never
    waits for the host.

    Args:
        after_step: Called with the number of steps that are done, on the device too.
        mark: Marks the end of what is queued; None where the device works at once.
    """

    def __init__(self, after_step: Callable[[int], None], mark: Callable[[], Mark | None]) -> None:
        self._after_step = after_step
        self._mark = mark
        self._pending: tuple[Mark, int | None] | None = None

    def queued(self, ended_step: int | None) -> None:
        """A call has been queued: wait for the one before it.

        Args:
            ended_step: Number of the step, from 1, whose last call it is; None for any other.
        """
        mark = self._mark()
        if mark is None:
            self._passed(ended_step)
            return
        self.finish()
        self._pending = (mark, ended_step)

    def finish(self) -> None:
        """Wait for the call that was queued last."""
        if self._pending is not None:
            mark, ended_step = self._pending
            self._pending = None
            mark.synchronize()
            self._passed(ended_step)

    def _passed(self, ended_step: int | None) -> None:
        if ended_step is not None:
            self._after_step(ended_step)
