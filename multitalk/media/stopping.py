"""Ending the decoding of a request whose caller has gone."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from ..errors import Cancelled

Result = TypeVar("Result")

_check: contextvars.ContextVar[Callable[[], None] | None] = contextvars.ContextVar("check", default=None)


def check_stop() -> None:
    """Raise :class:`Cancelled` if the caller of this thread's work has gone."""
    check = _check.get()
    if check is not None:
        check()


@contextmanager
def stopped_by(check: Callable[[], None]) -> Iterator[None]:
    """Enclose work that stops when a function raises, which is called again and again.

    Args:
        check: The function.
    """
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


async def in_stoppable_thread(work: Callable[..., Result], *arguments: object) -> Result:
    """Run work that decodes files in a thread; unlike ``asyncio.to_thread``, cancellation stops the work."""
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Cancelled("The request was cancelled.")

    context = contextvars.copy_context()
    context.run(_check.set, check)
    try:
        return await asyncio.get_running_loop().run_in_executor(None, partial(context.run, work, *arguments))
    except asyncio.CancelledError:
        stop.set()
        raise
