"""``python -m multitalk.start.health``: does this container's page answer? For Docker's HEALTHCHECK.

A worker has no page: RunPod asks it itself, and a worker that isn't fit ends, so one that runs is healthy.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request


def is_healthy(timeout: float = 5.0) -> bool:
    """Whether the page answers, if only by asking for a login; true for a worker."""
    if os.environ.get("MODE", "").strip().lower() == "serverless":
        return True
    port = os.environ.get("GRADIO_SERVER_PORT", "7860")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=timeout):
            return True
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if is_healthy() else 1)
