"""CLIP's vision encoder: encodes the image (arXiv 2103.00020; transformers' ``CLIPVisionModel``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from .encoder import BiasedAttention, Embedding, Encoder, EncoderOutput


class CLIPVisionEncoder(Encoder):
    """CLIP's vision transformer.

    Args:
        config: ``config.json`` of transformers' CLIP vision model.

    Raises:
        ValueError: The configuration is not supported.
    """

    supported: ClassVar[Mapping[str, Any]] = {"hidden_act": "gelu"}

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        self.embeddings = _Embeddings(config)
        self.pre_layrnorm = nn.LayerNorm(width, eps)  # the published name
        self.encoder = _Layers(config)
        self.post_layernorm = nn.LayerNorm(width, eps)  # is in the files, but only text search uses it

    def forward(self, pixel_values: torch.Tensor) -> EncoderOutput:
        """Encode normalized pixels ``B 3 H W`` to ``last_hidden_state``: ``B N C``, without a last norm."""
        hidden_states = self.pre_layrnorm(self.embeddings(pixel_values))
        return EncoderOutput(last_hidden_state=self.encoder(hidden_states))


class _Embeddings(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, patch = config["hidden_size"], config["patch_size"]
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(config["num_channels"], width, patch, patch, bias=False)
        self.position_embedding = Embedding((config["image_size"] // patch) ** 2 + 1, width)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        token = self.class_embedding.expand(len(patches), 1, -1)
        return torch.cat([token, patches], dim=1) + self.position_embedding.weight


class _Layers(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config["num_hidden_layers"]))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return hidden_states


class _Layer(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        self.self_attn = BiasedAttention(width, config["num_attention_heads"])
        self.layer_norm1 = nn.LayerNorm(width, eps)
        self.mlp = _FeedForward(width, config["intermediate_size"])
        self.layer_norm2 = nn.LayerNorm(width, eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = hidden_states + self.self_attn(self.layer_norm1(hidden_states))
        return hidden_states + self.mlp(self.layer_norm2(hidden_states))


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(hidden_states)))
