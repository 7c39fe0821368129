"""Triton kernel: a gated residual, and LayerNorm with its weight and bias, in one pass over the tokens."""

# Annotations are not postponed here: Triton 3.1 reads `tl.constexpr` from them.
import torch
import triton
import triton.language as tl

from .launch import launch, power_of_two, warps


@triton.jit(do_not_specialize=["tokens", "epsilon"])
def _residual_norm(
    hidden,  # M D
    update,  # M D
    gate,  # b D, float32
    weight,  # b D
    bias,  # b D
    summed,  # M D, result: hidden + update * gate
    normed,  # M D, result: the norm of `summed`
    tokens,  # rows of M that share a row of gate, weight and bias
    width,
    gate_stride,  # 0 if b is 1
    weight_stride,
    epsilon,
    HAS_UPDATE: tl.constexpr,
    HAS_GATE: tl.constexpr,
    HAS_NORM: tl.constexpr,
    ADD_ONE: tl.constexpr,  # modulation: 1 + weight
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    batch = row // tokens
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    here = row * width + columns
    values = tl.load(hidden + here, mask=inside, other=0.0).to(tl.float32)
    if HAS_UPDATE:
        added = tl.load(update + here, mask=inside, other=0.0).to(tl.float32)
        if HAS_GATE:
            added *= tl.load(gate + batch * gate_stride + columns, mask=inside, other=0.0)
        stored = (values + added).to(summed.dtype.element_ty)
        tl.store(summed + here, stored, mask=inside)
        values = stored.to(tl.float32)  # the norm reads what the next operations read
    if HAS_NORM:
        mean = tl.sum(values, axis=0) / width
        centered = tl.where(inside, values - mean, 0.0)
        variance = tl.sum(centered * centered, axis=0) / width
        factor = tl.load(weight + batch * weight_stride + columns, mask=inside, other=0.0).to(tl.float32)
        offset = tl.load(bias + batch * weight_stride + columns, mask=inside, other=0.0).to(tl.float32)
        if ADD_ONE:
            factor += 1.0
        result = centered * tl.rsqrt(variance + epsilon) * factor + offset
        tl.store(normed + here, result.to(normed.dtype.element_ty), mask=inside)


def residual_norm(
    hidden_states: torch.Tensor,
    update: torch.Tensor | None,
    gate: torch.Tensor | None,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    summed: torch.Tensor | None,
    normed: torch.Tensor | None,
    epsilon: float,
    add_one: bool,
) -> None:
    """Write ``hidden + update * gate`` to `summed`, and its LayerNorm to `normed`.

    Args:
        hidden_states, update: ``B N D``, contiguous. Without an update, `hidden_states` is normalized.
        gate: ``b 1 D`` float32, b = B or 1; None adds the update as it is.
        weight, bias: ``b 1 D`` or ``D``; None computes no norm.
        summed, normed: ``B N D``, contiguous: the results, of any float dtype.
        epsilon: Added to the variance.
        add_one: Whether the norm is multiplied by ``1 + weight`` (modulation) instead of ``weight``.
    """
    tokens, width = hidden_states.shape[-2:]
    block = power_of_two(width)
    launch(
        _residual_norm,
        (hidden_states.numel() // width,),
        hidden_states,
        hidden_states if update is None else update,
        hidden_states if gate is None else gate,
        hidden_states if weight is None else weight,
        hidden_states if bias is None else bias,
        hidden_states if summed is None else summed,
        hidden_states if normed is None else normed,
        tokens,
        width,
        0 if gate is None else _batch_stride(gate),
        0 if weight is None else _batch_stride(weight),
        epsilon,
        HAS_UPDATE=update is not None,
        HAS_GATE=gate is not None,
        HAS_NORM=normed is not None,
        ADD_ONE=add_one,
        BLOCK=block,
        num_warps=warps(block),
    )


def _batch_stride(rows: torch.Tensor) -> int:
    """Return the distance between the rows of ``b 1 D``; 0 for one row."""
    return rows.stride(0) if rows.dim() == 3 and rows.shape[0] > 1 else 0
