"""Ending the decoding of a request whose caller has gone."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from ..errors import Cancelled

Result = TypeVar("Result")

_stop: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("stop", default=None)


def check_stop() -> None:
    """Raise :class:`Cancelled` if the caller of this thread's work has gone."""
    event = _stop.get()
    if event is not None and event.is_set():
        raise Cancelled("The request was cancelled.")


async def in_stoppable_thread(work: Callable[..., Result], *arguments: object) -> Result:
    """Run work that decodes files in a thread; unlike ``asyncio.to_thread``, cancellation stops the work."""
    stop = threading.Event()
    context = contextvars.copy_context()
    context.run(_stop.set, stop)
    try:
        return await asyncio.get_running_loop().run_in_executor(None, partial(context.run, work, *arguments))
    except asyncio.CancelledError:
        stop.set()
        raise
