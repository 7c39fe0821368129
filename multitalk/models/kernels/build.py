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

from ..constants import BFLOAT16_CAPABILITY, FP8_CAPABILITY
from ..quantized_matmul import FUSED_CAPABILITY, QUANTIZED_MATMULS, quantize_tokens
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
        help="compute capabilities (default: all that this version of Triton supports)",
    )
    parser.add_argument("--cache", type=Path, help="folder of the cache (default: a temporary one)")
    parser.add_argument("--no-launchers", dest="launchers", action="store_false")
    options = parser.parse_args()
    if importlib.util.find_spec("triton") is None:
        print("Triton is not installed: no kernels to compile.")
        return
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["TRITON_CACHE_DIR"] = str(options.cache or Path(temporary, "cache"))
        compilation = build(options.capabilities or CAPABILITIES, Path(temporary), options.launchers)
        for capability, compiled, problem in compilation:
            if problem is not None and options.capabilities:
                raise problem
            report(capability, compiled, problem)


def report(capability: int, compiled: list[Compiled], problem: Exception | None) -> None:
    """Print the kernels of a compute capability, or why there are none."""
    if problem is not None:
        reason = str(problem).strip().splitlines()[-1] if str(problem).strip() else type(problem).__name__
        print(f"sm_{capability}: not compiled ({reason})")
        return
    total = sum(size for _, size, _ in compiled)
    print(f"sm_{capability}: {len(compiled)} kernels, {total / 1000:.0f} kB")
    for name in sorted({name for name, _, _ in compiled}):
        sizes = [size for other, size, _ in compiled if other == name]
        shared = max(memory for other, _, memory in compiled if other == name)
        variants = f"{len(sizes):3} variants of {min(sizes)} to {max(sizes)} bytes"
        print(f"    {name:16} {variants}, {shared} bytes of shared memory")


def build(
    capabilities: Sequence[int], temporary: Path, launchers: bool
) -> Iterator[tuple[int, list[Compiled], Exception | None]]:
    """Compile for GPUs.

    Args:
        capabilities: Compute capabilities, 80 for 8.0.
        temporary: A folder for files of the build.
        launchers: Whether the launchers are built, too; this needs a C compiler.

    Yields:
        Each compute capability with name, size and shared memory of its kernels, and the error of Triton's
        compiler if there was one.
    """
    from ...patches.triton import StandInDriver, build_launchers

    if launchers and shutil.which(os.environ.get("CC", "gcc")):
        build_launchers(temporary)
    stand_in = StandInDriver()
    stand_in.install()
    for capability in capabilities:
        stand_in.capability, stand_in.compiled = capability, []
        problem: Exception | None = None
        try:
            launch_all(divmod(capability, 10))
        except Exception as error:  # the compiler can raise anything
            problem = error
        yield capability, stand_in.compiled, problem


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
