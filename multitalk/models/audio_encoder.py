"""wav2vec2: encodes the audio (arXiv 2006.11477; transformers' ``Wav2Vec2Model``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from ..patches.torch import weight_norm
from .encoder import BiasedAttention, Encoder, EncoderOutput


class Wav2Vec2Encoder(Encoder):
    """wav2vec2's convolutions and transformer, with the norms of the base models.

    Args:
        config: ``config.json`` of transformers' wav2vec2.

    Raises:
        ValueError: The configuration is not supported.
    """

    supported: ClassVar[Mapping[str, Any]] = {
        "feat_extract_norm": "group",
        "feat_extract_activation": "gelu",
        "hidden_act": "gelu",
        "do_stable_layer_norm": False,
        "add_adapter": False,
    }

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.feature_extractor = _Convolutions(config)
        self.feature_projection = _Projection(config)
        self.encoder = _Transformer(config)
        # used in training only, but in the files
        if config.get("mask_time_prob", 0) > 0 or config.get("mask_feature_prob", 0) > 0:
            self.masked_spec_embed = nn.Parameter(torch.zeros(config["hidden_size"]))

    def forward(self, input_values: torch.Tensor, output_hidden_states: bool = True) -> EncoderOutput:
        """Encode normalized samples ``B n`` to ``hidden_states``, each ``B N C``.

        Args:
            input_values: ``B n``, 16 kHz, with zero mean and unit variance.
            output_hidden_states: As in transformers; the states are always returned.
        """
        features = self.feature_extractor(input_values).transpose(1, 2)
        hidden_states = self.encoder(self.feature_projection(features))
        return EncoderOutput(last_hidden_state=hidden_states[-1], hidden_states=hidden_states)


class _Convolutions(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        widths = (1, *config["conv_dim"])
        sizes = zip(config["conv_kernel"], config["conv_stride"], strict=True)
        self.conv_layers = nn.ModuleList(
            _Convolution(widths[i], widths[i + 1], kernel, stride, config["conv_bias"], normalize=i == 0)
            for i, (kernel, stride) in enumerate(sizes)
        )

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        hidden_states = input_values[:, None]
        for layer in self.conv_layers:
            hidden_states = layer(hidden_states)
        return hidden_states  # B C N


class _Convolution(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, bias: bool, normalize: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, bias=bias)
        self.layer_norm = nn.GroupNorm(outputs, outputs) if normalize else None

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = self.conv(hidden_states)
        if self.layer_norm is not None:
            hidden_states = self.layer_norm(hidden_states)
        return F.gelu(hidden_states)


class _Projection(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        channels = config["conv_dim"][-1]
        self.layer_norm = nn.LayerNorm(channels, config["layer_norm_eps"])
        self.projection = nn.Linear(channels, config["hidden_size"])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.projection(self.layer_norm(features))


class _Transformer(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.pos_conv_embed = _PositionConvolution(config)
        self.layer_norm = nn.LayerNorm(config["hidden_size"], config["layer_norm_eps"])
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config["num_hidden_layers"]))

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        states = [self.layer_norm(hidden_states + self.pos_conv_embed(hidden_states))]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return tuple(states)


class _PositionConvolution(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.conv = _NormalizedConvolution(
            config["hidden_size"], config["num_conv_pos_embeddings"], config["num_conv_pos_embedding_groups"]
        )

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        # an even kernel gives one position more than there are
        positions = self.conv(hidden_states.transpose(1, 2))[..., : hidden_states.shape[1]]
        return F.gelu(positions).transpose(1, 2)


class _NormalizedConvolution(nn.Module):
    """A convolution with weight norm: a length per position of the kernel, and directions.

    It has the tensors of torch's own weight norm, which cannot be built on the meta device without importing
    torch's compiler.
    """

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.bias = nn.Parameter(torch.zeros(width))
        weight = nn.Module()
        weight.original0 = nn.Parameter(torch.ones(1, 1, kernel))
        weight.original1 = nn.Parameter(torch.ones(width, width // groups, kernel))
        self.parametrizations = nn.ModuleDict({"weight": weight})

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        parts: Any = self.parametrizations["weight"]
        weight = weight_norm(parts.original1, parts.original0)
        padding = weight.shape[-1] // 2
        return F.conv1d(hidden_states, weight, self.bias, padding=padding, groups=self.groups)


class _Layer(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        self.attention = BiasedAttention(width, config["num_attention_heads"])
        self.layer_norm = nn.LayerNorm(width, eps)
        self.feed_forward = _FeedForward(width, config["intermediate_size"])
        self.final_layer_norm = nn.LayerNorm(width, eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = self.layer_norm(hidden_states + self.attention(hidden_states))
        return self.final_layer_norm(hidden_states + self.feed_forward(hidden_states))


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(width, hidden)
        self.output_dense = nn.Linear(hidden, width)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.output_dense(F.gelu(self.intermediate_dense(hidden_states)))
