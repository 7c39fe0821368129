"""``python -m multitalk.start.health``: check the web page of a container, for Docker's HEALTHCHECK.

A worker has no page and counts as healthy while it runs: RunPod checks it, and an unfit worker ends.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

from ..runtime.environment import read_text


def is_healthy(timeout: float = 5.0) -> bool:
    """Return whether the page answers, with or without a login; always true for a worker."""
    if read_text("MODE", "").lower() == "serverless":
        return True
    port = read_text("GRADIO_SERVER_PORT", "7860")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=timeout):
            return True
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if is_healthy() else 1)
