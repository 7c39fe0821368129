"""Compile the kernels of the published model ahead of time, for GPUs that this machine need not have.

    python -m multitalk.models.kernels.build --cache /opt/triton
    python -m multitalk.models.kernels.build --capabilities 80 90 --no-launchers

The kernels go into a cache of Triton, where a process with ``TRITON_CACHE_DIR`` finds them.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ...patches.torch import newest_architecture
from ..constants import BFLOAT16_CAPABILITY, FP8_CAPABILITY, FUSED_CAPABILITY
from ..quantized_matmul import QUANTIZED_MATMULS, quantize_tokens
from .dispatch import forced
from .probe import EIGHT_BITS, PUBLISHED, Widths, cases, extras_for

CAPABILITIES = (70, 75, 80, 86, 89, 90, 120)
# Not 16 or a multiple: Triton compiles other kernels for such numbers of tokens if they are not exempt.
_ROWS = 3
_SIDE = 256  # of the products: any multiple of 128 gives the same kernels
Compiled = tuple[str, int, int]


def main() -> None:
    """Compile, and print the kernels of every compute capability."""
    parser = argparse.ArgumentParser(prog="python -m multitalk.models.kernels.build", description=__doc__)
    parser.add_argument(
        "--capabilities",
        type=int,
        nargs="+",
        metavar="80",
        help="compute capabilities (default: all that torch is built for)",
    )
    parser.add_argument("--cache", type=Path, help="folder of the cache (default: a temporary one)")
    parser.add_argument("--no-launchers", dest="launchers", action="store_false")
    options = parser.parse_args()
    if importlib.util.find_spec("triton") is None:
        print("Triton is not installed: no kernels to compile.")
        return
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["TRITON_CACHE_DIR"] = str(options.cache or Path(temporary, "cache"))
        newest = newest_architecture() or max(CAPABILITIES)
        capabilities = options.capabilities or [known for known in CAPABILITIES if known <= newest]
        for capability, compiled in build(capabilities, Path(temporary), options.launchers):
            report(capability, compiled)


def report(capability: int, compiled: list[Compiled]) -> None:
    """Print the kernels of a compute capability."""
    total = sum(size for _, size, _ in compiled)
    print(f"sm_{capability}: {len(compiled)} kernels, {total / 1000:.0f} kB")
    for name in sorted({name for name, _, _ in compiled}):
        sizes = [size for other, size, _ in compiled if other == name]
        shared = max(memory for other, _, memory in compiled if other == name)
        variants = f"{len(sizes):3} variants of {min(sizes)} to {max(sizes)} bytes"
        print(f"    {name:16} {variants}, {shared} bytes of shared memory")


def build(
    capabilities: Sequence[int], temporary: Path, launchers: bool
) -> Iterator[tuple[int, list[Compiled]]]:
    """Compile for GPUs.

    Args:
        capabilities: Compute capabilities, 80 for 8.0.
        temporary: A folder for files of the build.
        launchers: Whether the launchers are built, too; this needs a C compiler.

    Yields:
        Each compute capability with name, size and shared memory of its kernels.
    """
    from ...patches.triton import StandInDriver, build_launchers

    if launchers and shutil.which(os.environ.get("CC", "gcc")):
        build_launchers(temporary)
    stand_in = StandInDriver()
    stand_in.install()
    for capability in capabilities:
        stand_in.capability, stand_in.compiled = capability, []
        launch_all(divmod(capability, 10))
        yield capability, stand_in.compiled


def launch_all(capability: tuple[int, int], widths: Widths = PUBLISHED) -> None:
    """Launch every kernel that a GPU uses once, on tensors of the CPU."""
    dtype = torch.bfloat16 if capability >= BFLOAT16_CAPABILITY else torch.float16
    fp8 = capability >= FP8_CAPABILITY
    with torch.inference_mode(), forced(True):
        for _, case in cases(torch.device("cpu"), dtype, widths, fp8, rows=_ROWS):
            case()
        if capability < FUSED_CAPABILITY:
            return
        side = torch.zeros(_SIDE, _SIDE, dtype=dtype)
        scale, low_rank = torch.ones(_SIDE, 1), torch.zeros(_SIDE, 4, dtype=dtype)
        for eight_bit in EIGHT_BITS[: 1 + fp8]:
            tokens = quantize_tokens(side, eight_bit)
            multiply = QUANTIZED_MATMULS["int8-fused"]
            for extra in extras_for(low_rank, low_rank):
                multiply(tokens, side.to(eight_bit), scale, side[0], dtype, extra)


if __name__ == "__main__":
    main()
