"""Residuals and the norms that follow them, computed in float32: kernels on a GPU, else PyTorch forms."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .kernels.dispatch import kernels_for


class Modulation(NamedTuple):
    """A LayerNorm that is multiplied by ``1 + scale`` and shifted.

    Attributes:
        scale, shift: ``b 1 D`` float32. b is B, or 1 for the whole batch, which needs one kernel only.
        eps: Added to the variance.
    """

    scale: torch.Tensor
    shift: torch.Tensor
    eps: float


Norm = Modulation | nn.LayerNorm


def normalize(hidden_states: torch.Tensor, norm: Norm, dtype: torch.dtype) -> torch.Tensor:
    """Apply a norm to ``B N D``; the result has a dtype of its own."""
    if kernels := kernels_for(hidden_states):
        return kernels.norm(hidden_states.contiguous(), *_parameters(norm), dtype)
    if not isinstance(norm, Modulation):
        return norm(hidden_states).to(dtype)
    width = (hidden_states.shape[-1],)
    if norm.scale.shape[0] == 1:
        weight, bias = (1 + norm.scale).flatten(), norm.shift.flatten()
        return F.layer_norm(hidden_states.float(), width, weight, bias, norm.eps).to(dtype)
    normed = F.layer_norm(hidden_states.float(), width, None, None, norm.eps)
    return (normed * (1 + norm.scale) + norm.shift).to(dtype)


def add_residual(
    hidden_states: torch.Tensor, update: torch.Tensor, gate: torch.Tensor | None = None
) -> torch.Tensor:
    """Return ``hidden_states + update * gate``, computed in float32, in the input's dtype.

    Args:
        hidden_states, update: ``B N D``.
        gate: ``b 1 D`` float32, or None for 1.
    """
    if kernels := kernels_for(hidden_states):
        return kernels.add_residual(hidden_states.contiguous(), update.contiguous(), gate)
    if gate is None:
        return hidden_states + update
    return torch.addcmul(hidden_states.float(), update.float(), gate).type_as(hidden_states)


def add_and_normalize(
    hidden_states: torch.Tensor,
    update: torch.Tensor,
    gate: torch.Tensor | None,
    norm: Norm,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, Callable[[], torch.Tensor]]:
    """Return the result of :func:`add_residual` and a function that returns its norm.

    A kernel computes both in one pass. The PyTorch form normalizes when the function is called, so that the
    caller can free `update` first.
    """
    if kernels := kernels_for(hidden_states):
        arguments = (hidden_states.contiguous(), update.contiguous(), gate, *_parameters(norm), dtype)
        summed, normed = kernels.add_residual_norm(*arguments)
        return summed, lambda: normed
    summed = add_residual(hidden_states, update, gate)
    return summed, partial(normalize, summed, norm, dtype)


def _parameters(norm: Norm) -> tuple[torch.Tensor, torch.Tensor, float, bool]:
    """Return weight, bias, epsilon, and whether one is added to the weight."""
    if isinstance(norm, Modulation):
        return norm.scale, norm.shift, norm.eps, True
    return norm.weight, norm.bias, norm.eps, False
