"""Triton kernel: RMSNorm of queries or keys and a rotary embedding, in one pass over the tokens."""

# Annotations are not postponed here: Triton 3.1 reads `tl.constexpr` from them.
import math

import torch
import triton
import triton.language as tl

from .launch import launch, power_of_two, warps


@triton.jit(do_not_specialize=["tokens", "epsilon", "log_theta"])
def _norm_rotate(
    hidden,  # M (H D)
    weight,  # (H D)
    cosines,  # N D/2, float32
    sines,
    positions,  # M, float32
    output,  # M (H D)
    tokens,  # N: rows of M that have a row of cosines and sines each
    heads,
    head_dim,
    epsilon,
    log_theta,
    NORM: tl.constexpr,
    TABLE: tl.constexpr,  # rotate by the table
    LABEL: tl.constexpr,  # rotate by angles computed from the positions
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS)[:, None]
    channel = tl.arange(0, HEAD_DIM)[None, :]
    inside = (head < heads) & (channel < head_dim)
    within = head * head_dim + channel
    here = row * heads * head_dim + within
    values = tl.load(hidden + here, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        mean_square = tl.sum(tl.sum(values * values, axis=1), axis=0) / (heads * head_dim)
        factor = tl.load(weight + within, mask=inside, other=0.0).to(tl.float32)
        values = values * tl.rsqrt(mean_square + epsilon) * factor
    if TABLE or LABEL:
        pair = tl.arange(0, HEAD_DIM // 2)
        half = head_dim // 2
        if TABLE:
            angle = (row % tokens) * half + pair
            cosine = tl.load(cosines + angle, mask=pair < half, other=1.0)
            sine = tl.load(sines + angle, mask=pair < half, other=0.0)
        else:
            frequency = tl.exp2(pair.to(tl.float32) * (-2.0 * log_theta / head_dim))
            angles = tl.load(positions + row) * frequency
            cosine = tl.cos(angles)
            sine = tl.sin(angles)
        cosine = cosine[None, :]
        sine = sine[None, :]
        even, odd = tl.split(tl.reshape(values, (HEADS, HEAD_DIM // 2, 2)))
        rotated = tl.join(even * cosine - odd * sine, even * sine + odd * cosine)
        values = tl.reshape(rotated, (HEADS, HEAD_DIM))
    tl.store(output + here, values.to(output.dtype.element_ty), mask=inside)


def norm_rotate(
    hidden_states: torch.Tensor,
    heads: int,
    weight: torch.Tensor | None,
    epsilon: float,
    cosines: torch.Tensor | None,
    sines: torch.Tensor | None,
    positions: torch.Tensor | None,
    theta: float,
    output: torch.Tensor,
) -> None:
    """Normalize all heads together, then rotate the pairs of every head.

    Args:
        hidden_states: ``B N (H D)``, contiguous.
        heads: H.
        weight: ``(H D)`` of the RMSNorm; None applies no norm.
        epsilon: Added to the mean square.
        cosines, sines: ``1 N 1 D/2`` float32; None for another rotation or none.
        positions: ``B N`` float32: label positions, from which the angles are computed; or None.
        theta: Base of their frequencies.
        output: As `hidden_states`: the result.
    """
    tokens, width = hidden_states.shape[-2:]
    head_dim = width // heads
    blocks = power_of_two(heads), power_of_two(head_dim)
    launch(
        _norm_rotate,
        (hidden_states.numel() // width,),
        hidden_states,
        hidden_states if weight is None else weight,
        hidden_states if cosines is None else cosines,
        hidden_states if sines is None else sines,
        hidden_states if positions is None else positions,
        output,
        tokens,
        heads,
        head_dim,
        epsilon,
        math.log2(theta),
        NORM=weight is not None,
        TABLE=cosines is not None,
        LABEL=positions is not None,
        HEADS=blocks[0],
        HEAD_DIM=blocks[1],
        num_warps=warps(blocks[0] * blocks[1]),
    )
