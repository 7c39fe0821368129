"""Entry point of the container and of a local installation.

``MODE=ui`` (the default) opens the web page, ``MODE=serverless`` runs the RunPod worker.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Start the mode that ``MODE`` selects; return the exit status."""
    from multitalk.runtime.environment import read_text

    mode = read_text("MODE", "ui").lower()
    if mode not in ("ui", "serverless"):
        print(f"error: MODE must be ui or serverless, not {mode[:40]!r}.", file=sys.stderr)
        return 2
    from multitalk.start.cold_start import ColdStart

    start = ColdStart()  # reading the weights starts here, while Python imports
    # each mode imports what it needs: the worker no page, the page no worker
    if mode == "serverless":
        from multitalk.serverless.server import serve as serve_jobs

        return serve_jobs(start)
    from multitalk.ui.server import serve as serve_page

    return serve_page(start)


if __name__ == "__main__":
    sys.exit(main())
