"""``python -m multitalk``."""

from __future__ import annotations

import sys

from multitalk.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
