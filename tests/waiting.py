"""Waiting for what happens in another thread or process, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float = 120, what: str = "it") -> None:
    """Return when a condition holds.

    Raises:
        AssertionError: It doesn't within the time: something hangs.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come in {seconds:g} seconds"
        time.sleep(0.01)
