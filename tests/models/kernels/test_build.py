"""The kernels compile for every GPU, and a process finds all of them in the cache of the build."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.moved_bytes import ROWS, count
from multitalk.models.kernels.build import CAPABILITIES
from multitalk.patches.torch import newest_architecture

ROOT = Path(__file__).parents[3]
# of the GPUs that torch is built for; a CPU build is for none, and Triton compiles for all of them
NEWEST = newest_architecture() or max(CAPABILITIES)
FAMILIES = {"_residual_norm", "_norm_rotate", "_quantize", "_epilogue"}


def run(cache: Path, *command: str) -> str:
    environment = os.environ | {"TRITON_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.slow
@pytest.mark.parametrize("capability", [known for known in CAPABILITIES if known <= NEWEST])
def test_kernels_are_compiled_ahead_of_time(capability, tmp_path):
    """For every GPU of docs/HARDWARE.md: V100, T4, A100, A6000, RTX 4090, H100 and RTX 5090."""
    cache = tmp_path / "cache"
    build = ("multitalk.models.kernels.build", "--capabilities", str(capability), "--cache", str(cache))
    output = run(cache, *build)
    compiled = set(re.findall(r"^ +(_\w+)", output, re.M))
    # the product with its epilogue needs tensor cores for 8 bits and asynchronous copies
    assert compiled == FAMILIES | ({"_multiply"} if capability >= 80 else set())
    assert len(list(cache.rglob("*.cubin"))) == int(re.search(r"(\d+) kernels", output)[1])
    if capability in (75, 80, 89):  # float16, bfloat16, fp8
        output = run(cache, "tests.models.kernels.launch_blocks", str(capability))
        assert re.fullmatch(r"\d+ kernels were used\.\n", output), (
            "a block compiles kernels that are not in the image"
        )


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [("bf16, kernels", 25.0), ("int8 with a LoRA, kernels", 30.0), ("bf16, PyTorch", 70.0)],
)
def test_bytes_that_a_block_moves(name, gigabytes):
    """At 480p with two people; without kernels it is the number in docs/MEASUREMENTS.md."""
    row = next(row for row in ROWS if row[0] == name)
    assert count(480, 832, 81, 2, row).work.bytes < gigabytes * 1e9
