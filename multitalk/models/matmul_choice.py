"""Which 8-bit matrix product a device uses.

Kernels are probed on the device, so that a GPU, a driver or a version of torch without them is detected at
startup and never fails a job.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import torch
import torch.nn.functional as F

from .constants import (
    FP8_CAPABILITY,
    FUSED_CAPABILITY,
    INT8_CAPABILITY,
    ROWWISE_CAPABILITY,
    probed_tokens,
)
from .kernels.dispatch import works
from .quantized_matmul import QUANTIZED_MATMULS, Extra, quantize_tokens

Matmul = Literal["auto", "dequantize"]

# Features and rank of the probes, no multiples of a kernel's block size.
_PROBE_SHAPE, _PROBE_RANK = (336, 208), 20
_PROBE_TOLERANCE = 0.1


def choose_matmul(
    precision: str, device: torch.device, sizes: tuple[int, int], matmul: Matmul = "auto"
) -> str | None:
    """Choose the kernel for a layer.

    Args:
        precision: "int8" or "fp8": dtype of the weights.
        device: Device that the layer runs on.
        sizes: Input and output features of the layer.
        matmul: "auto" or "dequantize", which uses no kernel.

    Returns:
        A name in `QUANTIZED_MATMULS`; None if the weights must be dequantized.
    """
    multiple = 8 if precision == "int8" else 16  # required by the kernels
    if matmul == "dequantize" or any(size % multiple for size in sizes):
        return None
    return _device_matmul(precision, device)


@functools.cache
def _device_matmul(precision: str, device: torch.device) -> str | None:
    """Return the fastest kernel of a precision that works on a device.

    torch's kernels are ordered; whether the fused one beats them depends on the GPU and is measured.
    """
    working = [name for name in _candidates(precision, device) if _works(name, device)]
    others = [name for name in working if not name.endswith("-fused")][:1]
    fused = [name for name in working if name.endswith("-fused")]
    if not fused or not others:
        return next(iter(fused + others), None)
    return min(fused + others, key=lambda name: _milliseconds(name, device))


def _candidates(precision: str, device: torch.device) -> list[str]:
    if device.type == "cpu":
        # fp8 is emulated there, which is slower than dequantizing
        return ["int8"] if precision == "int8" else []
    if device.type != "cuda":
        return []
    capability = torch.cuda.get_device_capability(device)
    fused = [f"{precision}-fused"] if capability >= FUSED_CAPABILITY and works(device) else []
    if precision == "int8":
        return ["int8", *fused] if capability >= INT8_CAPABILITY else []
    if capability < FP8_CAPABILITY:
        return []
    return ["fp8-rowwise", "fp8", *fused] if capability == ROWWISE_CAPABILITY else ["fp8", *fused]


def _works(name: str, device: torch.device) -> bool:
    """Return whether a kernel runs and agrees with the dequantized product, also with a LoRA and GELU."""
    try:
        return all(
            product_error(name, device, rows) < _PROBE_TOLERANCE for rows in probed_tokens(device.type)
        )
    except Exception:  # torch's errors for missing support; a Triton kernel can raise anything
        return False


@torch.inference_mode()
def product_error(name: str, device: torch.device, rows: int) -> float:
    """Return the largest L2 error of a product relative to the dequantized one, with and without extras."""
    generator = torch.Generator().manual_seed(0)
    features, outputs = _PROBE_SHAPE
    tokens, inner, up = (
        torch.randn(shape, generator=generator)
        for shape in ((rows, features), (rows, _PROBE_RANK), (outputs, _PROBE_RANK))
    )
    values = torch.randn(outputs, features, generator=generator) * 100
    weight = values.round().clamp(-127, 127).to(_weight_dtype(name))
    scale = torch.rand(outputs, 1, generator=generator) / 100 + 0.01
    bias = torch.randn(outputs, generator=generator)
    product = F.linear(tokens, weight.float() * scale, bias)
    half = [part.to(device, torch.bfloat16) for part in (tokens, bias, inner, up)]
    quantized = quantize_tokens(half[0], weight.dtype)
    arguments = (quantized, weight.to(device), scale.to(device), half[1], torch.bfloat16)
    errors = []
    for low_rank, gelu in ((False, False), (True, False), (False, True), (True, True)):
        extra = Extra(half[2], half[3], gelu) if low_rank else Extra(gelu=gelu)
        result = QUANTIZED_MATMULS[name](*arguments, extra).float().cpu()
        exact = Extra(inner, up, gelu) if low_rank else Extra(gelu=gelu)
        expected = exact.apply(product.clone())
        errors.append(((result - expected).norm() / expected.norm()).item())
    return max(errors, key=lambda error: (math.isnan(error), error))


def _weight_dtype(name: str) -> torch.dtype:
    return torch.int8 if name.startswith("int8") else torch.float8_e4m3fn


@torch.inference_mode()
def _milliseconds(name: str, device: torch.device) -> float:
    """Measure a product with its epilogue and a LoRA, at the size of an attention's projection."""
    rows, size, rank = 8192, 5120, 32
    dtype = _weight_dtype(name)
    tokens = (torch.zeros(rows, size, device=device).to(dtype), torch.ones(rows, 1, device=device))
    weight, scale = tokens[0][:size], tokens[1][:size]
    inner, up = (torch.zeros(count, rank, dtype=torch.bfloat16, device=device) for count in (rows, size))
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for repeat in range(4):
        if repeat == 1:  # the first one loads the kernels
            start.record()
        QUANTIZED_MATMULS[name](tokens, weight, scale, None, torch.bfloat16, Extra(inner, up))
    end.record()
    end.synchronize()
    return start.elapsed_time(end)
