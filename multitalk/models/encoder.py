"""What the text, image and audio encoders share: configuration, device, dtype and attention.

The encoders compute what transformers' classes compute, bit by bit, with the same configuration and tensor
names, so transformers can load a baked folder, too. Importing transformers' classes would take longer than
importing torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn


class Encoder(nn.Module):
    """Base class of the encoders.

    Args:
        config: Content of transformers' ``config.json``.

    Attributes:
        config: The same.
        supported: The only values of the configuration's options that the class implements.
        all_tied_weights_keys: Names of tied tensors, and the names under which they are stored.
        float32_modules: Names of modules that stay in float32 in float16 and bfloat16.
        float32_modules_in_float16: Names of modules that stay in float32 in float16 alone.

    Raises:
        ValueError: An option has another value.
    """

    supported: ClassVar[Mapping[str, Any]] = {}
    all_tied_weights_keys: ClassVar[Mapping[str, str]] = {}
    float32_modules: ClassVar[tuple[str, ...]] = ()
    float32_modules_in_float16: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        for name, value in self.supported.items():
            if config.get(name, value) != value:
                raise ValueError(f"{name} must be {value!r}, not {config[name]!r}.")
        self.config = dict(config)

    def modules_kept_in_float32(self, dtype: torch.dtype) -> set[str]:
        """List the modules that are loaded in float32 although the dtype is narrower."""
        kept = set(self.float32_modules)
        return kept | set(self.float32_modules_in_float16) if dtype == torch.float16 else kept

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the first parameter; some parts may be in float32."""
        return next(self.parameters()).dtype


class BiasedAttention(nn.Module):
    """Self-attention of CLIP and wav2vec2: every projection has a bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Attend within ``B N C``."""
        query, key, value = (
            split_heads(layer(hidden_states), self.heads) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(merge_heads(F.scaled_dot_product_attention(query, key, value)))


class Embedding(nn.Embedding):
    """An embedding that is not initialized on the meta device, where torch would import its compiler."""

    def reset_parameters(self) -> None:
        """Draw random weights, unless they are on the meta device."""
        if not self.weight.is_meta:
            super().reset_parameters()


def split_heads(hidden_states: torch.Tensor, heads: int) -> torch.Tensor:
    """``B N (H C)`` to ``B H N C``."""
    return hidden_states.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(hidden_states: torch.Tensor) -> torch.Tensor:
    """``B H N C`` to ``B N (H C)``."""
    return hidden_states.transpose(1, 2).flatten(2)


class EncoderOutput(SimpleNamespace):
    """Output of an encoder, with the names that transformers uses.

    Attributes:
        last_hidden_state: Output of the last layer, ``B N C``.
        hidden_states: Input of the first layer and output of every layer (wav2vec2).
    """

    last_hidden_state: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...]
