"""Rounds of large jobs, good and bad: the worker's process stays as it was after the first ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fresh_process import ROOT
from tests.process_state import trend

pytestmark = pytest.mark.slow
ROUNDS = 9
# bytes a round: less than a good picture (36 MB) or sound (12 MB), of which one a round would be kept
GROWTH = 4_000_000


def test_nothing_grows(small_weights: Path, tmp_path: Path) -> None:
    # a process of its own: this one's memory depends on the tests before
    run = subprocess.run(
        [sys.executable, "-m", "tests.serverless.soak", str(small_weights), str(ROUNDS)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert run.returncode == 0, run.stderr[-4000:]
    held = json.loads(run.stdout.splitlines()[-1])
    states = held["states"][1:]  # the first round fills caches
    early, late = states[: len(states) // 2], states[len(states) // 2 :]
    # what is kept adds up; what the allocator or a cache takes once doesn't
    assert trend([state["memory"] for state in states], within=3) < GROWTH, held
    for name in ("files", "threads", "children"):
        assert max(state[name] for state in late) <= max(state[name] for state in early), held
    # at most: a file that takes too long ends its decoder
    assert max(state["children"] for state in states) == 1, "one decoder process is kept"
    assert held["decoder"] < 300_000_000
    assert held["files"] == []
