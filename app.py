"""The one entry point of a container or a laptop.

``MODE=ui`` (the default) opens the page, ``MODE=serverless`` runs the RunPod worker.
"""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Start what ``MODE`` names; returns the exit status."""
    mode = os.environ.get("MODE", "").strip().lower() or "ui"
    if mode not in ("ui", "serverless"):
        print(f"MODE is '{mode[:40]}', but must be ui or serverless.", file=sys.stderr)
        return 2
    from multitalk.start.cold_start import ColdStart

    start = ColdStart()  # the weights are read from here on, while Python imports
    # each mode imports what it needs: the worker no page, the page no worker
    if mode == "serverless":
        from multitalk.serverless.server import serve as serve_jobs

        return serve_jobs(start)
    from multitalk.ui.server import serve as serve_page

    return serve_page(start)


if __name__ == "__main__":
    sys.exit(main())
