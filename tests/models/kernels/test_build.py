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


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("triton") / "cache"


@pytest.fixture(scope="module")
def built(cache: Path) -> dict[int, str]:
    """What the build prints for each capability, built into the cache by one process, as for the image."""
    output = run(cache, "multitalk.models.kernels.build", "--cache", str(cache))
    return {int(part.partition(":")[0]): part for part in output.split("sm_")[1:]}


@pytest.mark.slow
def test_kernels_are_compiled_ahead_of_time(built: dict[int, str], cache: Path) -> None:
    """For every GPU of docs/HARDWARE.md: V100, T4, A100, A6000, RTX 4090, H100 and RTX 5090."""
    assert list(built) == [known for known in CAPABILITIES if known <= NEWEST]
    for capability, output in built.items():
        compiled = set(re.findall(r"^ +(_\w+)", output, re.M))
        # the product with its epilogue needs tensor cores for 8 bits and asynchronous copies
        assert compiled == FAMILIES | ({"_multiply"} if capability >= 80 else set()), capability
    count = sum(int(re.search(r"(\d+) kernels", output)[1]) for output in built.values())
    assert len(list(cache.rglob("*.cubin"))) == count


@pytest.mark.slow
def test_blocks_use_no_other_kernels(built: dict[int, str], cache: Path) -> None:
    """In float16, bfloat16 and fp8."""
    capabilities = [capability for capability in (75, 80, 89) if capability in built]
    output = run(cache, "tests.models.kernels.launch_blocks", *map(str, capabilities))
    used = "".join(rf"sm_{capability}: \d+ kernels were used\.\n" for capability in capabilities)
    assert re.fullmatch(used, output), "a block compiles kernels that are not in the image"


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [("bf16, kernels", 25.0), ("int8 with a LoRA, kernels", 30.0), ("bf16, PyTorch", 70.0)],
)
def test_bytes_that_a_block_moves(name, gigabytes):
    """At 480p with two people; without kernels it is the number in docs/MEASUREMENTS.md."""
    row = next(row for row in ROWS if row[0] == name)
    assert count(480, 832, 81, 2, row).work.bytes < gigabytes * 1e9
