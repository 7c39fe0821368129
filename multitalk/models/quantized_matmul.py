"""8-bit matrix products: the kernels, and which of them a device supports.

Activations are quantized on the fly, with one scale per token. Kernels are probed on the device, so that a
GPU, a driver or a version of torch without them is detected at startup and never fails a job.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from ..patches.torch import fp8_product, int8_product
from .constants import (
    FP8_CAPABILITY,
    FUSED_CAPABILITY,
    INT8_CAPABILITY,
    ROWWISE_CAPABILITY,
    probed_tokens,
)
from .kernels.dispatch import kernels_for, works

Matmul = Literal["auto", "dequantize"]
QuantizedTokens = tuple[torch.Tensor, torch.Tensor]

# With fewer tokens a product is limited by reading the weights and gains nothing from 8-bit activations:
# text, image and audio tokens (257 to 1344) mostly keep their dtype.
MINIMAL_ROWS = 1024
# Tokens are quantized and products scaled in pieces of this many values, which keeps temporaries small.
_PIECE = 1 << 24
# Largest values of the 8-bit dtypes.
LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
# Features and rank of the probes, no multiples of a kernel's block size.
_PROBE_SHAPE, _PROBE_RANK = (336, 208), 20
_PROBE_TOLERANCE = 0.1


@dataclass(frozen=True)
class Extra:
    """What is applied to a product besides scales and bias.

    Attributes:
        inner, up: ``M R`` and ``N R``: a LoRA adds ``inner @ up.T``; None without one.
        gelu: Whether GELU (its tanh form) is applied last.
    """

    inner: torch.Tensor | None = None
    up: torch.Tensor | None = None
    gelu: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is applied."""
        return self.inner is None and not self.gelu

    def apply(self, output: torch.Tensor) -> torch.Tensor:
        """Apply it to ``M N``, which may be changed in place."""
        if self.inner is not None and self.up is not None:
            output.addmm_(self.inner, self.up.t())  # one pass over the output, and one rounding
        return F.gelu(output, approximate="tanh") if self.gelu else output


PLAIN = Extra()
Multiply = Callable[
    [QuantizedTokens, torch.Tensor, torch.Tensor, torch.Tensor | None, torch.dtype, Extra], torch.Tensor
]


def quantize_tokens(hidden_states: torch.Tensor, dtype: torch.dtype) -> QuantizedTokens:
    """Quantize tokens ``M K`` to int8 or e4m3; also returns their scales ``M 1`` float32."""
    if kernels := kernels_for(hidden_states):
        return kernels.quantize(hidden_states.contiguous(), dtype, LARGEST[dtype])
    # the infinity norm reads the tokens once and makes no copy
    largest = torch.linalg.vector_norm(hidden_states, ord=float("inf"), dim=-1, keepdim=True)
    scale = largest.float().clamp_(min=1e-6) / LARGEST[dtype]
    inverse = scale.reciprocal()

    def rounded(rows: slice) -> torch.Tensor:
        values = hidden_states[rows] * inverse[rows]  # float32
        return (values.round_() if dtype == torch.int8 else values).to(dtype)

    return _in_pieces(rounded, hidden_states.shape, dtype, hidden_states.device), scale


def multiply_int8(
    tokens: QuantizedTokens,
    weight: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    dtype: torch.dtype,
    extra: Extra = PLAIN,
) -> torch.Tensor:
    """Multiply in int8 with exact sums; the result is scaled per token and per row.

    Args:
        tokens: ``M K`` int8 and the scales ``M 1``, from :func:`quantize_tokens`.
        weight: ``N K`` int8.
        scale: ``N 1`` float32.
        bias: ``N`` or None.
        dtype: Dtype of the result.
        extra: What is applied to the result.

    Returns:
        ``M N``.
    """
    values, token_scale = tokens

    def product(rows: slice) -> torch.Tensor:
        return int8_product(values[rows], weight)

    return finish_product(product, token_scale, scale, bias, dtype, extra)


def multiply_fp8(
    tokens: QuantizedTokens,
    weight: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    dtype: torch.dtype,
    extra: Extra = PLAIN,
) -> torch.Tensor:
    """Multiply in fp8 and scale the result; arguments as in :func:`multiply_int8`."""
    values, token_scale = tokens
    one = torch.ones((), device=values.device)
    # not float16, which is too small for sums of values up to 448 * 448
    sums = torch.float32 if dtype == torch.float32 else torch.bfloat16

    def product(rows: slice) -> torch.Tensor:
        return fp8_product(values[rows], weight, one, one, sums)

    return finish_product(product, token_scale, scale, bias, dtype, extra)


def multiply_fp8_rowwise(
    tokens: QuantizedTokens,
    weight: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    dtype: torch.dtype,
    extra: Extra = PLAIN,
) -> torch.Tensor:
    """Multiply in fp8 with per-token and per-row scales (Hopper); arguments as in :func:`multiply_int8`."""
    values, token_scale = tokens
    sums = torch.bfloat16  # the only one that this kernel supports
    bias = None if bias is None else bias.to(sums)
    token_scale = _with_room(token_scale)
    return finish_scaled(fp8_product(values, weight, token_scale, scale.t(), sums, bias), dtype, extra)


def _with_room(token_scale: torch.Tensor) -> torch.Tensor:
    """Return the scales ``M 1`` in memory for a multiple of 256 tokens: torch 2.5's kernel reads as many."""
    rows = token_scale.shape[0]
    return F.pad(token_scale, (0, 0, 0, -rows % 256))[:rows]


def multiply_fused(
    tokens: QuantizedTokens,
    weight: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    dtype: torch.dtype,
    extra: Extra = PLAIN,
) -> torch.Tensor:
    """Multiply in int8 or fp8 and finish in one Triton kernel; arguments as in :func:`multiply_int8`."""
    from .kernels import operations

    values, token_scale = tokens
    return operations.eight_bit_product(
        values, weight, token_scale, scale, bias, extra.inner, extra.up, extra.gelu, dtype
    )


QUANTIZED_MATMULS: dict[str, Multiply] = {
    "int8": multiply_int8,
    "int8-fused": multiply_fused,
    "fp8": multiply_fp8,
    "fp8-rowwise": multiply_fp8_rowwise,
    "fp8-fused": multiply_fused,
}


def finish_product(
    product: Callable[[slice], torch.Tensor],
    token_scale: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    dtype: torch.dtype,
    extra: Extra = PLAIN,
) -> torch.Tensor:
    """Scale a product in float32, add the bias and apply `extra`; `product` multiplies some of the tokens."""
    shape = (token_scale.shape[0], scale.shape[0])
    if kernels := kernels_for(token_scale):
        output = torch.empty(shape, dtype=dtype, device=scale.device)
        for rows in _pieces(shape):
            inner = None if extra.inner is None else extra.inner[rows]
            kernels.finish(
                product(rows), token_scale[rows], scale, bias, inner, extra.up, extra.gelu, output[rows]
            )
        return output

    def piece(rows: slice) -> torch.Tensor:
        scaled = product(rows) * token_scale[rows]  # float32
        scaled *= scale.t()
        return (scaled if bias is None else scaled.add_(bias)).to(dtype)

    return extra.apply(_in_pieces(piece, shape, dtype, scale.device))


def finish_scaled(product: torch.Tensor, dtype: torch.dtype, extra: Extra) -> torch.Tensor:
    """Apply `extra` to a product ``M N`` that has its scales and bias."""
    if extra.is_empty or (kernels := kernels_for(product)) is None:
        return extra.apply(product.to(dtype))
    output = product.new_empty(product.shape, dtype=dtype)
    kernels.finish(product, None, None, None, extra.inner, extra.up, extra.gelu, output)
    return output


def _in_pieces(
    make: Callable[[slice], torch.Tensor], shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Compute a matrix some rows at a time, which keeps temporaries small.

    The compiler fuses the computation into one kernel without temporaries, so it gets all rows at once.
    """
    pieces = _pieces(shape)
    if torch.compiler.is_compiling() or len(pieces) == 1:
        return make(slice(0, shape[0]))
    whole = torch.empty(shape, dtype=dtype, device=device)
    for rows in pieces:
        whole[rows] = make(rows)
    return whole


def _pieces(shape: tuple[int, ...]) -> list[slice]:
    """Divide rows into pieces of nearly equal size: a last piece of a few rows would be slow."""
    count, width = shape
    pieces = max(-(-count // max(_PIECE // width, MINIMAL_ROWS)), 1)
    return [slice(count * index // pieces, count * (index + 1) // pieces) for index in range(pieces)]


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
