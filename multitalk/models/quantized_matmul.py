"""8-bit matrix products: the kernels, and which of them a device supports.

Activations are quantized on the fly, with one scale per token. Kernels are probed on the device, so that a
GPU, a driver or a version of torch without them is detected at startup and never fails a job.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import torch

from ..patches.torch import fp8_product, int8_product
from .constants import FP8_CAPABILITY, INT8_CAPABILITY

Matmul = Literal["auto", "dequantize"]
Multiply = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]

# With fewer tokens a product is limited by reading the weights and gains nothing from 8-bit activations:
# text, image and audio tokens (257 to 1344) mostly keep their dtype.
MINIMAL_ROWS = 1024
# torch's kernel with per-row scales is built for Hopper; other GPUs apply the scales to the product
ROWWISE_CAPABILITY = (9, 0)
# Tokens are quantized and products scaled in pieces of this many values, which keeps temporaries small.
_PIECE = 1 << 24
# Largest values of the 8-bit dtypes.
LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
_PROBE_ROWS, _PROBE_SIZE = 32, 64
_PROBE_TOLERANCE = 0.1


def quantize_tokens(hidden_states: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantize tokens ``M K`` to int8 or e4m3; also returns their scales ``M 1`` float32."""
    # the infinity norm reads the tokens once and makes no copy
    largest = torch.linalg.vector_norm(hidden_states, ord=float("inf"), dim=-1, keepdim=True)
    scale = largest.float().clamp_(min=1e-6) / LARGEST[dtype]
    inverse = scale.reciprocal()

    def rounded(rows: slice) -> torch.Tensor:
        values = hidden_states[rows] * inverse[rows]  # float32
        return (values.round_() if dtype == torch.int8 else values).to(dtype)

    return _in_pieces(rounded, hidden_states.shape, dtype, hidden_states.device), scale


def multiply_int8(
    hidden_states: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """Multiply in int8 with exact sums; the result is scaled per token and per row.

    Args:
        hidden_states: ``M K``.
        weight: ``N K`` int8.
        scale: ``N 1`` float32.
        bias: ``N`` or None.

    Returns:
        ``M N`` in the dtype of `hidden_states`.
    """
    tokens, token_scale = quantize_tokens(hidden_states, torch.int8)

    def product(rows: slice) -> torch.Tensor:
        return int8_product(tokens[rows], weight)

    return _scaled(product, token_scale, scale, bias, hidden_states.dtype)


def multiply_fp8(
    hidden_states: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """Multiply in fp8 and scale the result; arguments as in :func:`multiply_int8`."""
    tokens, token_scale = quantize_tokens(hidden_states, torch.float8_e4m3fn)
    one = torch.ones((), device=tokens.device)
    # not float16, which is too small for sums of values up to 448 * 448
    dtype = torch.float32 if hidden_states.dtype == torch.float32 else torch.bfloat16

    def product(rows: slice) -> torch.Tensor:
        return fp8_product(tokens[rows], weight, one, one, dtype)

    return _scaled(product, token_scale, scale, bias, hidden_states.dtype)


def multiply_fp8_rowwise(
    hidden_states: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """Multiply in fp8 with per-token and per-row scales (Hopper); arguments as in :func:`multiply_int8`."""
    tokens, token_scale = quantize_tokens(hidden_states, torch.float8_e4m3fn)
    dtype = torch.bfloat16  # the only one that this kernel supports
    bias = None if bias is None else bias.to(dtype)
    return fp8_product(tokens, weight, token_scale, scale.t(), dtype, bias).to(hidden_states.dtype)


QUANTIZED_MATMULS: dict[str, Multiply] = {
    "int8": multiply_int8,
    "fp8": multiply_fp8,
    "fp8-rowwise": multiply_fp8_rowwise,
}


def _scaled(
    product: Callable[[slice], torch.Tensor],
    token_scale: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Scale a product in float32 and add the bias; `product` multiplies a slice of the tokens."""

    def piece(rows: slice) -> torch.Tensor:
        scaled = product(rows) * token_scale[rows]  # float32
        scaled *= scale.t()
        return (scaled if bias is None else scaled.add_(bias)).to(dtype)

    return _in_pieces(piece, (token_scale.shape[0], scale.shape[0]), dtype, scale.device)


def _in_pieces(
    make: Callable[[slice], torch.Tensor], shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Compute a matrix some rows at a time, which keeps temporaries small.

    The compiler fuses the computation into one kernel without temporaries, so it gets all rows at once.
    """
    count, width = shape
    step = max(_PIECE // width, MINIMAL_ROWS)
    if torch.compiler.is_compiling() or count <= step:
        return make(slice(0, count))
    whole = torch.empty(shape, dtype=dtype, device=device)
    pieces = -(-count // step)
    for index in range(pieces):  # of nearly equal size: a last piece of a few rows would be slow
        rows = slice(count * index // pieces, count * (index + 1) // pieces)
        whole[rows] = make(rows)
    return whole


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
    """Return the first kernel of a precision that works on a device."""
    return next((name for name in _candidates(precision, device) if _works(name, device)), None)


def _candidates(precision: str, device: torch.device) -> list[str]:
    if device.type == "cpu":
        # fp8 is emulated there, which is slower than dequantizing
        return ["int8"] if precision == "int8" else []
    if device.type != "cuda":
        return []
    capability = torch.cuda.get_device_capability(device)
    if precision == "int8":
        return ["int8"] if capability >= INT8_CAPABILITY else []
    if capability < FP8_CAPABILITY:
        return []
    return ["fp8-rowwise", "fp8"] if capability == ROWWISE_CAPABILITY else ["fp8"]


def _works(name: str, device: torch.device) -> bool:
    """Return whether a kernel runs and agrees with the dequantized product."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(_PROBE_ROWS, _PROBE_SIZE, generator=generator)
    values = torch.randn(_PROBE_SIZE, _PROBE_SIZE, generator=generator) * 100
    weight = values.round().clamp(-127, 127).to(torch.int8 if name == "int8" else torch.float8_e4m3fn)
    scale = torch.rand(_PROBE_SIZE, 1, generator=generator) / 100 + 0.01
    bias = torch.randn(_PROBE_SIZE, generator=generator)
    expected = torch.nn.functional.linear(tokens, weight.float() * scale, bias)
    arguments = [tensor.to(device) for tensor in (tokens.bfloat16(), weight, scale, bias.bfloat16())]
    try:
        result = QUANTIZED_MATMULS[name](*arguments).float().cpu()
    except (RuntimeError, NotImplementedError, ValueError):  # torch's errors for missing support
        return False
    return bool((result - expected).norm() < _PROBE_TOLERANCE * expected.norm())
