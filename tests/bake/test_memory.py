"""Memory: a bake needs one or two tensors, and loading needs nothing besides the mapped files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_checkpoint import Sizes, make_small_checkpoint

# Bakes twice in a fresh process, first a small model to import everything, and measures anonymous memory.
# Pages mapped from files are not counted, since the kernel can drop them.
SCRIPT = '''
import json, re, sys, threading
from pathlib import Path
import torch
from multitalk.bake.bake import bake
from multitalk.weights.store import WeightsFolder, load_part

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

small, large, target, precision = sys.argv[1:]
bake(small, target + "/small", precision=precision, loras=[("lightx2v", 1.0)])
load_part(WeightsFolder(target + "/small"), "transformer", "cpu", torch.bfloat16)

class Grown:
    """Measures by how much memory grows inside it."""

    def __enter__(self):
        self.before = self.peak = anonymous()
        self.stop = threading.Event()
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()
        return self

    def watch(self):
        while not self.stop.wait(0.001):
            self.peak = max(self.peak, anonymous())

    def __exit__(self, *error):
        self.stop.set()
        self.watcher.join()
        self.nbytes = self.peak - self.before

with Grown() as baked:
    bake(large, target + "/large", precision=precision, loras=[("lightx2v", 1.0)], max_shard_bytes=30e6)
with Grown() as loaded:
    model = load_part(WeightsFolder(target + "/large"), "transformer", "cpu", torch.bfloat16)
print(json.dumps({"baked": baked.nbytes, "loaded": loaded.nbytes}))
'''


SIZES = Sizes(dim=1024, heads=8, ffn_dim=2816, layers=4)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return make_small_checkpoint(folder / "small"), make_small_checkpoint(folder / "large", SIZES, shards=3)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_peak_memory_of_a_bake_and_of_loading(precision, checkpoints, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, checkpoints), str(tmp_path / "baked"), precision],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        # Blocks of the real model have mappings of their own, which glibc gives all of 32 MB and more.
        # Smaller ones would leave holes in the heap, which count as anonymous memory.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)},
    )
    grown = json.loads(done.stdout.splitlines()[-1])
    written = (tmp_path / "baked" / "large" / "transformer").glob("*.safetensors")
    part = sum(path.stat().st_size for path in written)
    largest_tensor = 6 * SIZES.dim * SIZES.dim * 4  # of the time projection, in float32
    # a tensor in float32 and its cast, but not the part or a shard
    assert part > (6 if precision == "bf16" else 3) * largest_tensor
    assert grown["baked"] < 3 * largest_tensor, f"{grown} for a part of {part / 1e6:.0f} MB"
    # tensors stay mapped from their files
    assert grown["loaded"] < 0.1 * part, f"{grown} for a part of {part / 1e6:.0f} MB"
