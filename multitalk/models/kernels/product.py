"""Triton kernels: 8-bit matrix products with their epilogue, and the epilogue alone.

The epilogue applies the scales of tokens and rows, the bias, a LoRA and GELU to the sums of a product.
"""

# Annotations are not postponed here: Triton 3.1 reads `tl.constexpr` from them.
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from .launch import launch


@triton.jit
def _finish(
    sums,  # float32, a tile of M N
    token,  # indices of its rows
    column,  # and columns
    rows,
    columns,
    token_scale,
    scale,
    bias,
    inner,
    up,
    rank,
    SCALE: tl.constexpr,
    BIAS: tl.constexpr,
    LORA: tl.constexpr,
    GELU: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
):
    if SCALE:
        sums *= tl.load(token_scale + token, mask=token < rows, other=0.0)[:, None]
        sums *= tl.load(scale + column, mask=column < columns, other=0.0)[None, :]
    if BIAS:
        sums += tl.load(bias + column, mask=column < columns, other=0.0).to(tl.float32)[None, :]
    if LORA:
        for start in range(0, rank, RANK_BLOCK):
            part = start + tl.arange(0, RANK_BLOCK)
            left = tl.load(
                inner + token[:, None].to(tl.int64) * rank + part[None, :],
                mask=(token < rows)[:, None] & (part < rank)[None, :],
                other=0.0,
            )
            right = tl.load(
                up + column[None, :] * rank + part[:, None],
                mask=(column < columns)[None, :] & (part < rank)[:, None],
                other=0.0,
            )
            sums = tl.dot(left, right, sums, input_precision="ieee")
    if GELU:  # its tanh form: (1 + tanh(y)) / 2 is sigmoid(2 y)
        sums *= tl.sigmoid(1.5957691216057308 * (sums + 0.044715 * sums * sums * sums))
    return sums


@triton.jit(do_not_specialize=["rows", "rank"])
def _multiply(
    tokens,  # M K, 8 bits
    weight,  # N K, 8 bits
    token_scale,  # M, float32
    scale,  # N, float32
    bias,  # N
    inner,  # M R: the tokens times the LoRA's down matrix
    up,  # N R
    output,  # M N, result
    rows,
    columns,
    depth,
    rank,
    BIAS: tl.constexpr,
    LORA: tl.constexpr,
    GELU: tl.constexpr,
    INTEGER: tl.constexpr,
    EVEN: tl.constexpr,  # whether BLOCK_K divides K
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
):
    # tiles in groups of rows, so that tiles that run together share tokens and weights in the L2 cache
    tile = tl.program_id(0)
    tile_rows = tl.cdiv(rows, BLOCK_M)
    tile_columns = tl.cdiv(columns, BLOCK_N)
    in_group = GROUP * tile_columns
    first = (tile // in_group) * GROUP
    group = tl.minimum(tile_rows - first, GROUP)
    token = (first + (tile % in_group) % group) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = ((tile % in_group) // group) * BLOCK_N + tl.arange(0, BLOCK_N)
    # rows and columns outside are read from the first ones, and not stored
    token_read = tl.where(token < rows, token, 0).to(tl.int64)
    column_read = tl.where(column < columns, column, 0).to(tl.int64)
    step = tl.arange(0, BLOCK_K)
    left = tokens + token_read[:, None] * depth + step[None, :]
    right = weight + column_read[None, :] * depth + step[:, None]
    sums = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.int32 if INTEGER else tl.float32)
    for start in range(0, depth, BLOCK_K):
        if EVEN:
            a = tl.load(left)
            b = tl.load(right)
        else:
            a = tl.load(left, mask=(start + step)[None, :] < depth, other=0.0)
            b = tl.load(right, mask=(start + step)[:, None] < depth, other=0.0)
        sums = tl.dot(a, b, sums, out_dtype=tl.int32 if INTEGER else tl.float32)
        left += BLOCK_K
        right += BLOCK_K
    result = _finish(
        sums.to(tl.float32),
        token,
        column,
        rows,
        columns,
        token_scale,
        scale,
        bias,
        inner,
        up,
        rank,
        True,
        BIAS,
        LORA,
        GELU,
        RANK_BLOCK,
    )
    here = output + token[:, None].to(tl.int64) * columns + column[None, :]
    mask = (token < rows)[:, None] & (column < columns)[None, :]
    tl.store(here, result.to(output.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["rows", "rank"])
def _epilogue(
    product,  # M N: the sums
    token_scale,
    scale,
    bias,
    inner,
    up,
    output,  # M N, result
    rows,
    columns,
    rank,
    SCALE: tl.constexpr,
    BIAS: tl.constexpr,
    LORA: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
):
    tile_columns = tl.cdiv(columns, BLOCK_N)
    token = (tl.program_id(0) // tile_columns) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = (tl.program_id(0) % tile_columns) * BLOCK_N + tl.arange(0, BLOCK_N)
    here = token[:, None].to(tl.int64) * columns + column[None, :]
    mask = (token < rows)[:, None] & (column < columns)[None, :]
    sums = tl.load(product + here, mask=mask, other=0).to(tl.float32)
    result = _finish(
        sums,
        token,
        column,
        rows,
        columns,
        token_scale,
        scale,
        bias,
        inner,
        up,
        rank,
        SCALE,
        BIAS,
        LORA,
        GELU,
        RANK_BLOCK,
    )
    tl.store(output + here, result.to(output.dtype.element_ty), mask=mask)


@dataclass(frozen=True)
class Tiles:
    """Sizes of a tile of the result, and how it is computed."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


# By the lowest compute capability; shared memory holds rows * depth + columns * depth bytes per stage
# (163 KiB on 8.0, 99 KiB on 8.6, 8.9 and 12.0, 227 KiB on 9.0). Not measured on a GPU.
_TILES = {
    (8, 0): Tiles(128, 128, 128, 8, 3),
    (8, 6): Tiles(128, 128, 64, 8, 3),
    (9, 0): Tiles(128, 256, 128, 8, 3),
    (10, 0): Tiles(128, 128, 64, 8, 3),
}
_GROUP, _RANK_BLOCK = 8, 16
_EPILOGUE_TILE = 32, 128


def device_tiles() -> Tiles:
    """Return the tiles for the current device, whose compute capability is 8.0 or higher."""
    capability = divmod(triton.runtime.driver.active.get_current_target().arch, 10)
    return _TILES[max(known for known in _TILES if known <= capability)]


def multiply(
    tokens: torch.Tensor,
    weight: torch.Tensor,
    token_scale: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    inner: torch.Tensor | None,
    up: torch.Tensor | None,
    gelu: bool,
    output: torch.Tensor,
) -> None:
    """Multiply in 8 bits and finish the result in the same kernel.

    Args:
        tokens: ``M K``, int8 or e4m3, contiguous.
        weight: ``N K`` in the same dtype, contiguous.
        token_scale: ``M 1`` float32.
        scale: ``N 1`` float32.
        bias: ``N`` or None.
        inner, up: ``M R`` and ``N R``, contiguous, in one dtype of 16 bits: the product ``inner @ up.T`` is
            added; None adds nothing.
        gelu: Whether GELU (tanh) is applied last.
        output: ``M N``, contiguous: the result.
    """
    (rows, depth), columns = tokens.shape, weight.shape[0]
    tiles = device_tiles()
    launch(
        _multiply,
        (triton.cdiv(rows, tiles.rows) * triton.cdiv(columns, tiles.columns),),
        tokens,
        weight,
        token_scale,
        scale,
        output if bias is None else bias,
        output if inner is None else inner,
        output if up is None else up,
        output,
        rows,
        columns,
        depth,
        0 if inner is None else inner.shape[1],
        BIAS=bias is not None,
        LORA=inner is not None,
        GELU=gelu,
        INTEGER=tokens.dtype == torch.int8,
        EVEN=depth % tiles.depth == 0,
        BLOCK_M=tiles.rows,
        BLOCK_N=tiles.columns,
        BLOCK_K=tiles.depth,
        GROUP=_GROUP,
        RANK_BLOCK=_RANK_BLOCK,
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )


def epilogue(
    product: torch.Tensor,
    token_scale: torch.Tensor | None,
    scale: torch.Tensor | None,
    bias: torch.Tensor | None,
    inner: torch.Tensor | None,
    up: torch.Tensor | None,
    gelu: bool,
    output: torch.Tensor,
) -> None:
    """Finish a product ``M N`` that another kernel has computed; arguments as in :func:`multiply`.

    Without scales, the product is used as it is.
    """
    rows, columns = product.shape
    block = _EPILOGUE_TILE
    launch(
        _epilogue,
        (triton.cdiv(rows, block[0]) * triton.cdiv(columns, block[1]),),
        product,
        product if token_scale is None else token_scale,
        product if scale is None else scale,
        product if bias is None else bias,
        product if inner is None else inner,
        product if up is None else up,
        output,
        rows,
        columns,
        0 if inner is None else inner.shape[1],
        SCALE=token_scale is not None,
        BIAS=bias is not None,
        LORA=inner is not None,
        GELU=gelu,
        BLOCK_M=block[0],
        BLOCK_N=block[1],
        RANK_BLOCK=_RANK_BLOCK,
        num_warps=4,
        num_stages=1,
    )
