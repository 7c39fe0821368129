"""Triton kernel: tokens in 8 bits with one scale each, in one pass."""

# Annotations are not postponed here: Triton 3.1 reads `tl.constexpr` from them.
import torch
import triton
import triton.language as tl

from .launch import launch, power_of_two, warps


@triton.jit
def _quantize(
    hidden,  # M K
    values,  # M K, result: int8 or e4m3
    scales,  # M, result: float32
    width,
    largest: tl.constexpr,  # of the 8-bit dtype
    ROUND: tl.constexpr,  # to whole numbers
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    tokens = tl.load(hidden + row * width + columns, mask=inside, other=0.0).to(tl.float32)
    scale = tl.math.div_rn(tl.maximum(tl.max(tl.abs(tokens), axis=0), 1e-6), largest)
    tokens *= tl.math.div_rn(1.0, scale)
    if ROUND:
        # 1.5 * 2^23: a float32 sum of this size has no fraction and is rounded half to even
        tokens = (tokens + 12582912.0) - 12582912.0
    tl.store(values + row * width + columns, tokens.to(values.dtype.element_ty), mask=inside)
    tl.store(scales + row, scale)


def quantize(hidden_states: torch.Tensor, values: torch.Tensor, scales: torch.Tensor, largest: float) -> None:
    """Quantize tokens.

    Args:
        hidden_states: ``M K``, contiguous.
        values: ``M K`` int8 or e4m3: the result.
        scales: ``M 1`` float32: the scales of the rows.
        largest: Largest value of the 8-bit dtype.
    """
    rows, width = hidden_states.shape
    block = power_of_two(width)
    launch(
        _quantize,
        (rows,),
        hidden_states,
        values,
        scales,
        width,
        largest=largest,
        ROUND=values.dtype == torch.int8,
        BLOCK=block,
        num_warps=warps(block),
    )
