"""Runs interpreted.py in a process with Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(
    metadata.version("triton") == "3.1.0", reason="the interpreter of Triton 3.1 fails with NumPy 2"
)
def test_the_kernels_equal_their_pytorch_forms():
    pytest = ("-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider")
    run = subprocess.run(
        [sys.executable, *pytest, "tests/models/kernels/interpreted.py"],
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
