"""RunPod's SDK: cancel running jobs when the worker is asked to shut down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PINNED = {"runpod": ("1.12.0",)}


def call_on_shutdown(callback: Callable[[], None]) -> None:
    """Call a function after the SDK's own handler of SIGTERM and SIGINT.

    The SDK takes no more jobs and waits for the running one, which may take longer than RunPod waits.

    Args:
        callback: Called from the signal handler, so it must not block.
    """
    from runpod.serverless.modules.rp_scale import JobScaler

    shut_down = JobScaler.handle_shutdown

    def handle_shutdown(scaler: JobScaler, number: int, frame: Any) -> None:
        shut_down(scaler, number, frame)
        callback()

    JobScaler.handle_shutdown = handle_shutdown
