"""RunPod's SDK: cancel running jobs on shutdown, and another server for its local API."""

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


def replace_api_server(serve: Callable[[Any, str, int], None]) -> None:
    """Serve the SDK's local API with a function instead of its own server.

    Its own server waits for running jobs when it is asked to stop, and continues jobs whose caller has gone.

    Args:
        serve: Called with the ASGI app, the address and the port; returns when the server has stopped.
    """
    from runpod.serverless.modules.rp_fastapi import WorkerAPI

    def start_uvicorn(
        api: WorkerAPI, api_host: str = "localhost", api_port: int = 8000, api_concurrency: int = 1
    ) -> None:
        serve(api.rp_app, api_host, int(api_port))

    WorkerAPI.start_uvicorn = start_uvicorn
