"""The one entry point of a container or a laptop: ``MODE=ui`` (the default) opens the page."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Start what ``MODE`` names; returns the exit status."""
    mode = os.environ.get("MODE", "ui").strip().lower() or "ui"
    if mode != "ui":
        print(f"MODE is '{mode}', but this version knows only MODE=ui.", file=sys.stderr)
        return 2
    from multitalk.ui.server import serve

    return serve()


if __name__ == "__main__":
    sys.exit(main())
