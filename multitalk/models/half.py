"""float16 on GPUs without bfloat16 (V100, T4): where its range, up to 65504, isn't enough.

The published weights were trained in bfloat16, whose range is float32's. In float16 these stay wide:

* the transformer's residual stream: 40 blocks add to it four times each, and a few channels grow by orders of
  magnitude. It is float32, as are the norms that read it; what they give to the layers is of size one again;
* what is added to the stream: the last matrix of an attention or a feed-forward multiplies into those same
  channels. It is run on an eighth of its input, and its result is multiplied by eight in float32;
* the timestep's path and the norms, which are kept in float32 in every half-precision model;
* UMT5's feed-forward: the product of its two hidden halves and its last matrix (`wo`), both float32. Its
  residual stream is float32 by that.

Queries and keys are normed, values and hidden layers come from normed inputs: they fit.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import nn

# A power of two, so that scaling rounds nothing: results up to 524 thousand. A larger one would cost the bias
# precision: it takes part in the scaled sum and is put right afterwards.
_SCALE = 8


def residual_dtype(compute: torch.dtype) -> torch.dtype:
    """Dtype of the residual stream of blocks that compute in `compute`."""
    return torch.float32 if compute == torch.float16 else compute


def project_to_residual(layer: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """Run a layer whose result is added to the residual stream.

    Args:
        layer: A linear layer of any kind, with or without bias.
        hidden_states: ``B N C``; in float16 it is changed, since a copy would be the peak of the memory.

    Returns:
        ``B N D``: float32 for float16 input, else what the layer gives.
    """
    if hidden_states.dtype != torch.float16:
        return layer(hidden_states)
    result = layer(hidden_states.div_(_SCALE)).float().mul_(_SCALE)
    bias = getattr(layer, "bias", None)
    if bias is not None:  # it was added to an eighth of the product, and is now there eight times
        result = result.sub_(bias.float(), alpha=_SCALE - 1)
    return result


def feed_forward(network: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    """Run diffusers' ``FeedForward``, its last layer by :func:`project_to_residual`."""
    *first, last = network.net
    for layer in first:
        hidden_states = layer(hidden_states)
    return project_to_residual(last, hidden_states)


def widen_text_encoder(text_encoder: nn.Module) -> None:
    """Let a float16 UMT5 multiply the halves of its hidden layers, and run what follows, in float32.

    Args:
        text_encoder: Its feed-forwards are changed in place; in other dtypes it isn't.
    """
    if next(text_encoder.parameters()).dtype != torch.float16:
        return
    for module in text_encoder.modules():
        if all(hasattr(module, name) for name in ("wi_0", "wi_1", "wo", "act")):
            module.forward = types.MethodType(_gated_feed_forward, module)


def _gated_feed_forward(module: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    gate = module.act(module.wi_0(hidden_states)).float()
    return module.wo(gate * module.wi_1(hidden_states).float())
