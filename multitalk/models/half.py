"""float16 on GPUs without bfloat16 (V100, T4), where its range, up to 65504, is too small.

The published weights were trained in bfloat16, which has the range of float32. In a float16 model these parts
stay in float32:

* The transformer's residual stream. 40 blocks add to it four times each, and a few channels grow by orders of
  magnitude. The norms that read it run in float32, too; their outputs are of magnitude one.
* What is added to the stream. The last projection of an attention or a feed-forward writes into the same
  channels. It runs on its input divided by eight, and its result is multiplied by eight in float32.
* The timestep embedding and the norms, as in every half-precision model.
* UMT5's feed-forward (:class:`multitalk.models.text_encoder.GatedFeedForward`): the product of its two
  hidden halves and its last projection (`wo`). Its residual stream is float32 as a result.

Queries, keys, values and hidden layers are computed from normalized inputs and fit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .kernels.dispatch import use_kernels
from .quantized import QuantizedLinear

# A power of two, so that scaling is exact: results up to 524,000 fit. A larger factor would cost the bias
# precision, which is part of the scaled sum and corrected afterwards.
_SCALE = 8


def residual_dtype(compute: torch.dtype) -> torch.dtype:
    """Dtype of the residual stream of blocks that compute in `compute`."""
    return torch.float32 if compute == torch.float16 else compute


def project_to_residual(layer: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """Run a layer whose result is added to the residual stream.

    Args:
        layer: A linear layer of any kind, with or without bias.
        hidden_states: ``B N C``. Changed in place in float16, because a copy would raise peak memory.

    Returns:
        ``B N D``: float32 for float16 input, otherwise the dtype of the layer's output.
    """
    if hidden_states.dtype != torch.float16:
        return layer(hidden_states)
    result = layer(hidden_states.div_(_SCALE)).float().mul_(_SCALE)
    bias = getattr(layer, "bias", None)
    if bias is not None:  # it was multiplied with the result
        result = result.sub_(bias.float(), alpha=_SCALE - 1)
    return result


def feed_forward(network: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    """Run diffusers' ``FeedForward``, its last layer by :func:`project_to_residual`."""
    *first, last = network.net
    for layer in first:
        projection = getattr(layer, "proj", None)
        if isinstance(projection, QuantizedLinear) and use_kernels(hidden_states):
            # the product's epilogue includes GELU; without it, GELU runs after the tokens in 8 bits are freed
            hidden_states = projection(hidden_states, gelu=True)
        else:
            hidden_states = layer(hidden_states)
    return project_to_residual(last, hidden_states)
