"""The owner of jobs and results: a browser, by a hash that can be saved."""

from __future__ import annotations

import hashlib
from typing import Any

from .access import browser_of


def owner_of(request: Any) -> str:
    """Return the owner of what a request of Gradio or Starlette creates.

    The cookie of a browser gives access to its files, so only a hash of it is written to disk.
    """
    return hashlib.sha256(browser_of(request).encode()).hexdigest()[:32]
