"""The kernels as torch operations, which also work on tensors without data (shapes only).

Schemas are strings: torch 2.5 cannot infer them from postponed annotations.
"""

from __future__ import annotations

import functools

import torch

_operation = functools.partial(torch.library.custom_op, mutates_args=())


@_operation(
    "multitalk::norm",
    schema="(Tensor hidden, Tensor weight, Tensor bias, float epsilon, bool add_one, ScalarType dtype) "
    "-> Tensor",
)
def norm(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    epsilon: float,
    add_one: bool,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Normalize ``B N D``; weight and bias are ``D`` or ``b 1 D``."""
    from .norm import residual_norm

    normed = torch.empty_like(hidden, dtype=dtype)
    residual_norm(hidden, None, None, weight, bias, None, normed, epsilon, add_one)
    return normed


@norm.register_fake
def _(hidden, weight, bias, epsilon, add_one, dtype):
    return torch.empty_like(hidden, dtype=dtype)


@_operation("multitalk::add_residual", schema="(Tensor hidden, Tensor update, Tensor? gate) -> Tensor")
def add_residual(hidden: torch.Tensor, update: torch.Tensor, gate: torch.Tensor | None) -> torch.Tensor:
    """Return ``hidden + update * gate`` for ``B N D`` and a gate ``b 1 D``."""
    from .norm import residual_norm

    summed = torch.empty_like(hidden)
    residual_norm(hidden, update, gate, None, None, summed, None, 0.0, False)
    return summed


@add_residual.register_fake
def _(hidden, update, gate):
    return torch.empty_like(hidden)


@_operation(
    "multitalk::add_residual_norm",
    schema="(Tensor hidden, Tensor update, Tensor? gate, Tensor weight, Tensor bias, float epsilon, "
    "bool add_one, ScalarType dtype) -> (Tensor, Tensor)",
)
def add_residual_norm(
    hidden: torch.Tensor,
    update: torch.Tensor,
    gate: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    epsilon: float,
    add_one: bool,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``hidden + update * gate`` and its norm."""
    from .norm import residual_norm

    summed, normed = torch.empty_like(hidden), torch.empty_like(hidden, dtype=dtype)
    residual_norm(hidden, update, gate, weight, bias, summed, normed, epsilon, add_one)
    return summed, normed


@add_residual_norm.register_fake
def _(hidden, update, gate, weight, bias, epsilon, add_one, dtype):
    return torch.empty_like(hidden), torch.empty_like(hidden, dtype=dtype)


@_operation(
    "multitalk::norm_rotate",
    schema="(Tensor hidden, int heads, Tensor? weight, float epsilon, Tensor? cosines, Tensor? sines, "
    "Tensor? positions, float theta) -> Tensor",
)
def norm_rotate(
    hidden: torch.Tensor,
    heads: int,
    weight: torch.Tensor | None,
    epsilon: float,
    cosines: torch.Tensor | None,
    sines: torch.Tensor | None,
    positions: torch.Tensor | None,
    theta: float,
) -> torch.Tensor:
    """RMSNorm ``B N (H D)`` and rotate it by a table or by label positions."""
    from .rotary import norm_rotate as run

    output = torch.empty_like(hidden)
    run(hidden, heads, weight, epsilon, cosines, sines, positions, theta, output)
    return output


@norm_rotate.register_fake
def _(hidden, heads, weight, epsilon, cosines, sines, positions, theta):
    return torch.empty_like(hidden)


@_operation(
    "multitalk::quantize", schema="(Tensor hidden, ScalarType dtype, float largest) -> (Tensor, Tensor)"
)
def quantize(hidden: torch.Tensor, dtype: torch.dtype, largest: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantize tokens ``M K`` to -largest..largest; returns the values and their scales ``M 1``."""
    from .quantize import quantize as run

    values = torch.empty_like(hidden, dtype=dtype)
    scales = hidden.new_empty(hidden.shape[0], 1, dtype=torch.float32)
    run(hidden, values, scales, largest)
    return values, scales


@quantize.register_fake
def _(hidden, dtype, largest):
    scales = hidden.new_empty(hidden.shape[0], 1, dtype=torch.float32)
    return torch.empty_like(hidden, dtype=dtype), scales


@_operation(
    "multitalk::eight_bit_product",
    schema="(Tensor tokens, Tensor weight, Tensor token_scale, Tensor scale, Tensor? bias, Tensor? inner, "
    "Tensor? up, bool gelu, ScalarType dtype) -> Tensor",
)
def eight_bit_product(
    tokens: torch.Tensor,
    weight: torch.Tensor,
    token_scale: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    inner: torch.Tensor | None,
    up: torch.Tensor | None,
    gelu: bool,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Multiply 8-bit matrices ``M K`` and ``N K`` and finish the result ``M N``."""
    from .product import multiply as run

    output = tokens.new_empty(tokens.shape[0], weight.shape[0], dtype=dtype)
    run(tokens, weight, token_scale, scale, bias, inner, up, gelu, output)
    return output


@eight_bit_product.register_fake
def _(tokens, weight, token_scale, scale, bias, inner, up, gelu, dtype):
    return tokens.new_empty(tokens.shape[0], weight.shape[0], dtype=dtype)


@torch.library.custom_op(
    "multitalk::finish",
    mutates_args=("output",),
    schema="(Tensor product, Tensor? token_scale, Tensor? scale, Tensor? bias, Tensor? inner, Tensor? up, "
    "bool gelu, Tensor(a!) output) -> ()",
)
def finish(
    product: torch.Tensor,
    token_scale: torch.Tensor | None,
    scale: torch.Tensor | None,
    bias: torch.Tensor | None,
    inner: torch.Tensor | None,
    up: torch.Tensor | None,
    gelu: bool,
    output: torch.Tensor,
) -> None:
    """Apply scales, bias, a LoRA and GELU to a product ``M N``; written to `output`."""
    from .product import epilogue

    epilogue(product, token_scale, scale, bias, inner, up, gelu, output)


@finish.register_fake
def _(product, token_scale, scale, bias, inner, up, gelu, output):
    return None
