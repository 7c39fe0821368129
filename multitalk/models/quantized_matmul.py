"""Matrix products in 8 bits: which a device has, and what they are.

Activations are quantized as they come, one factor per token. Kernels are chosen by trying them on the
device, so that what a GPU, a driver or a version of torch lacks is found at start and never during a job.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import torch

from .constants import FP8_CAPABILITY, INT8_CAPABILITY

Matmul = Literal["auto", "dequantize"]
Multiply = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]

# Below this many tokens a product is bound by reading the weights and gains nothing from 8-bit activations:
# those of the text, the image and the sound (257 to 1344) mostly keep their dtype.
MINIMAL_ROWS = 1024
# torch's kernel with a factor per row is made for Hopper; elsewhere factors are applied afterwards
ROWWISE_CAPABILITY = (9, 0)
# Tokens are quantized and results scaled in pieces of this many values: temporaries stay small beside them.
_PIECE = 1 << 24
# The largest values of the 8-bit dtypes.
_LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
_PROBE_ROWS, _PROBE_SIZE = 32, 64
_PROBE_TOLERANCE = 0.1


def quantize_tokens(hidden_states: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens ``M K`` as int8 or e4m3, and their factors ``M 1`` float32."""
    # the infinity norm reads the tokens once and writes no copy of them
    largest = torch.linalg.vector_norm(hidden_states, ord=float("inf"), dim=-1, keepdim=True)
    scale = largest.float().clamp_(min=1e-6) / _LARGEST[dtype]
    factor = scale.reciprocal()

    def rounded(rows: slice) -> torch.Tensor:
        values = hidden_states[rows] * factor[rows]  # float32
        return (values.round_() if dtype == torch.int8 else values).to(dtype)

    return _in_pieces(rounded, hidden_states.shape, dtype, hidden_states.device), scale


def multiply_int8(
    hidden_states: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """``torch._int_mm``: exact sums of whole numbers, scaled per token and per row.

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
        return torch._int_mm(tokens[rows], weight.t())

    return _scaled(product, token_scale, scale, bias, hidden_states.dtype)


def multiply_fp8(
    hidden_states: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """``torch._scaled_mm`` with factors of one, scaled afterwards; arguments as :func:`multiply_int8`."""
    tokens, token_scale = quantize_tokens(hidden_states, torch.float8_e4m3fn)
    one = torch.ones((), device=tokens.device)
    # not float16: sums of values up to 448 * 448 don't fit in it
    dtype = torch.float32 if hidden_states.dtype == torch.float32 else torch.bfloat16

    def product(rows: slice) -> torch.Tensor:
        return torch._scaled_mm(
            tokens[rows], weight.t(), scale_a=one, scale_b=one, out_dtype=dtype, use_fast_accum=True
        )

    return _scaled(product, token_scale, scale, bias, hidden_states.dtype)


def multiply_fp8_rowwise(
    hidden_states: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """``torch._scaled_mm`` with factors per token and row, for Hopper; see :func:`multiply_int8`."""
    tokens, token_scale = quantize_tokens(hidden_states, torch.float8_e4m3fn)
    product = torch._scaled_mm(
        tokens,
        weight.t(),
        scale_a=token_scale,
        scale_b=scale.t(),
        bias=None if bias is None else bias.to(torch.bfloat16),
        out_dtype=torch.bfloat16,  # the only one this kernel has
        use_fast_accum=True,
    )
    return product.to(hidden_states.dtype)


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
    """Products of some of the tokens, times both factors in float32, plus the bias, in a dtype."""

    def piece(rows: slice) -> torch.Tensor:
        scaled = product(rows) * token_scale[rows]  # float32
        scaled *= scale.t()
        return (scaled if bias is None else scaled.add_(bias)).to(dtype)

    return _in_pieces(piece, (token_scale.shape[0], scale.shape[0]), dtype, scale.device)


def _in_pieces(
    make: Callable[[slice], torch.Tensor], shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """A matrix made some rows at a time, so that what it is made through stays small.

    A compiler makes one kernel of it all, without temporaries, and gets it whole.
    """
    count, width = shape
    step = max(_PIECE // width, MINIMAL_ROWS)
    if torch.compiler.is_compiling() or count <= step:
        return make(slice(0, count))
    whole = torch.empty(shape, dtype=dtype, device=device)
    pieces = -(-count // step)
    for index in range(pieces):  # of nearly equal size: kernels don't like a last one of a few rows
        rows = slice(count * index // pieces, count * (index + 1) // pieces)
        whole[rows] = make(rows)
    return whole


def choose_matmul(
    precision: str, device: torch.device, sizes: tuple[int, int], matmul: Matmul = "auto"
) -> str | None:
    """The kernel for a layer.

    Args:
        precision: "int8" or "fp8", of its weights.
        device: Where it computes.
        sizes: Its input's and its output's.
        matmul: "dequantize" wants none.

    Returns:
        A name in `QUANTIZED_MATMULS`; None where nothing but dequantizing works.
    """
    multiple = 8 if precision == "int8" else 16  # what the kernels demand
    if matmul == "dequantize" or any(size % multiple for size in sizes):
        return None
    return _device_matmul(precision, device)


@functools.cache
def _device_matmul(precision: str, device: torch.device) -> str | None:
    """The first kernel of a precision that the device has and that computes right."""
    return next((name for name in _candidates(precision, device) if _works(name, device)), None)


def _candidates(precision: str, device: torch.device) -> list[str]:
    if device.type == "cpu":
        # 8-bit floats are emulated there, which is slower than dequantizing
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
    """Whether a kernel runs, and gives what the dequantized product gives."""
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
    except (RuntimeError, NotImplementedError, ValueError):  # what torch raises for what a device lacks
        return False
    return bool((result - expected).norm() < _PROBE_TOLERANCE * expected.norm())
