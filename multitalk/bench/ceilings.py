"""What a device reaches at best: matrix products and copies, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..models.quantized_matmul import choose_matmul

# Sides of the square matrices, and bytes of a copy: large enough that nothing but the units counts.
SIDE = {"cuda": 8192, "cpu": 1024}
COPY = {"cuda": 1 << 30, "cpu": 1 << 27}
REPEATS = {"cuda": 20, "cpu": 5}


@dataclass(frozen=True)
class Ceilings:
    """The best of several runs each.

    Attributes:
        matmul: Operations a second by what is multiplied: "float32", "bf16", "int8", ...
        copy: Bytes a second, read and written, of a copy within the device's memory.
        upload: Bytes a second from page-locked host memory to the device; None on a CPU.
    """

    matmul: dict[str, float]
    copy: float
    upload: float | None


def measure_ceilings(device: torch.device, dtype: torch.dtype, precision: str) -> Ceilings:
    """Measure a device.

    Args:
        device: Which.
        dtype: Of the model's activations.
        precision: Of the transformer's weights: "int8" and "fp8" are measured beside `dtype` where the
            device multiplies them.
    """
    side = SIDE[device.type]
    label = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "float32")
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    matmul = {label: 2 * side**3 / fastest(lambda: left @ right, device)}
    if (kernel := choose_matmul(precision, device, (side, side))) is not None:
        matmul[precision] = 2 * side**3 / fastest(_eight_bit(kernel, side, device), device)
    source = torch.empty(COPY[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = 2 * source.numel() / fastest(lambda: target.copy_(source), device)
    upload = None
    if device.type == "cuda":
        host = torch.empty(source.numel(), dtype=torch.uint8, pin_memory=True)
        upload = source.numel() / fastest(lambda: target.copy_(host, non_blocking=True), device)
    return Ceilings(matmul, copy, upload)


def fastest(run: Callable[[], object], device: torch.device, repeats: int | None = None) -> float:
    """Seconds of the fastest of several runs, after two that don't count."""
    repeats = REPEATS[device.type] if repeats is None else repeats
    seconds = [timed(run, device) for _ in range(repeats + 2)]
    return min(seconds[2:])


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of a run, until the device is done."""
    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that is queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _eight_bit(kernel: str, side: int, device: torch.device) -> Callable[[], object]:
    """The bare product of 8-bit matrices, without the rounding of activations."""
    if kernel == "int8":
        left, right = (torch.randint(-127, 127, (side, side), device=device).to(torch.int8) for _ in range(2))
        return lambda: torch._int_mm(left, right.t())
    left, right = (torch.randn(side, side, device=device).to(torch.float8_e4m3fn) for _ in range(2))
    one = torch.ones((), device=device)
    return lambda: torch._scaled_mm(
        left, right.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True
    )
