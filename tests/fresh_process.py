"""A script in a process of its own: what it imports, and what it changes, is nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_script(script: str, **environment: str) -> str:
    """What a fresh process prints that runs a script from the repository's folder."""
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | environment,
    ).stdout
