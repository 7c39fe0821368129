"""8-bit matrix products. Activations are quantized on the fly, with one scale per token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..patches.torch import fp8_product, int8_product
from .kernels.dispatch import kernels_for

QuantizedTokens = tuple[torch.Tensor, torch.Tensor]

# With fewer tokens a product is limited by reading the weights and gains nothing from 8-bit activations:
# text, image and audio tokens (257 to 1344) mostly keep their dtype.
MINIMAL_ROWS = 1024
# Tokens are quantized and products scaled in pieces of this many values, which keeps temporaries small.
_PIECE = 1 << 24
# Largest values of the 8-bit dtypes.
LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}


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
