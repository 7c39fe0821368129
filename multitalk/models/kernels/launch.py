"""Start a Triton kernel on the device of its tensors; imported by the kernels only."""

from __future__ import annotations

from typing import Any

import torch
import triton

# values of a row per thread: a warp has 32 threads
_VALUES_PER_WARP = 1024


def power_of_two(size: int) -> int:
    """Return the smallest power of two that is not below a size."""
    return triton.next_power_of_2(size)


def warps(block: int) -> int:
    """Return the number of warps for a row of a number of values."""
    return min(max(block // _VALUES_PER_WARP, 1), 16)


def launch(kernel: Any, grid: tuple[int, ...], first: torch.Tensor, *arguments: Any, **options: Any) -> None:
    """Start a kernel on the device of its first argument."""
    with torch.cuda.device_of(first):
        kernel[grid](first, *arguments, **options)
