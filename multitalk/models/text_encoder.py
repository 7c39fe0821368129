"""UMT5's encoder: encodes the prompt (arXiv 2304.09151; transformers' ``UMT5EncoderModel``)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from .encoder import Embedding, Encoder, EncoderOutput, merge_heads, split_heads
from .quantized import quantize_linears


class UMT5Encoder(Encoder):
    """UMT5's encoder, optionally with int8 linear layers.

    Quantized weights are always dequantized for the product: a prompt is encoded once, and UMT5's activations
    have outliers that 8 bits per token cannot represent. Embedding, position bias and norms are not
    quantized. fp8 is not supported: int8 is more exact.

    Args:
        config: ``config.json`` of transformers' UMT5, and optionally ``"quantization": "int8"``.

    Raises:
        ValueError: The configuration is not supported.
    """

    supported: ClassVar[Mapping[str, Any]] = {"feed_forward_proj": "gated-gelu"}
    all_tied_weights_keys: ClassVar[Mapping[str, str]] = {"encoder.embed_tokens.weight": "shared.weight"}
    float32_modules: ClassVar[tuple[str, ...]] = ("scale",)
    float32_modules_in_float16: ClassVar[tuple[str, ...]] = ("wo",)

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.shared = Embedding(config["vocab_size"], config["d_model"])
        self.encoder = _Stack(self.shared, config)
        quantization = config.get("quantization")
        if quantization not in (None, "int8"):
            raise ValueError(f"quantization of the text encoder must be int8, not {quantization}.")
        if quantization is not None:
            quantize_linears(self, quantization)

    def forward(self, input_ids: torch.Tensor) -> EncoderOutput:
        """Encode tokens ``B N`` without padding to ``last_hidden_state``: ``B N C``."""
        return EncoderOutput(last_hidden_state=self.encoder([input_ids])[0])

    def encode_all(self, texts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Encode several texts, each ``B N`` to ``B N C``, in one pass over layers that may be streamed."""
        return self.encoder(texts)


class _Stack(nn.Module):
    def __init__(self, embedding: Embedding, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.embed_tokens = embedding
        self.block = nn.ModuleList(_Block(config) for _ in range(config["num_layers"]))
        self.final_layer_norm = RMSNorm(config["d_model"], config["layer_norm_epsilon"])

    def forward(self, texts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        hidden_states = [self.embed_tokens(input_ids) for input_ids in texts]
        for block in self.block:
            hidden_states = block(hidden_states)
        return [self.final_layer_norm(text) for text in hidden_states]


class _Block(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.layer = nn.ModuleList([_SelfAttentionLayer(config), _FeedForwardLayer(config)])

    def forward(self, hidden_states: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        attention, feed_forward = self.layer
        return [feed_forward(attention(text)) for text in hidden_states]


class _SelfAttentionLayer(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.SelfAttention = RelativeAttention(config)
        self.layer_norm = RMSNorm(config["d_model"], config["layer_norm_epsilon"])

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states + self.SelfAttention(self.layer_norm(hidden_states))


class _FeedForwardLayer(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.DenseReluDense = GatedFeedForward(config["d_model"], config["d_ff"])
        self.layer_norm = RMSNorm(config["d_model"], config["layer_norm_epsilon"])

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states + self.DenseReluDense(self.layer_norm(hidden_states))


class RMSNorm(nn.Module):
    """T5's norm: the root mean square in float32, the product in the dtype of the weight."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Normalize ``B N C``."""
        variance = hidden_states.float().pow(2).mean(-1, keepdim=True)
        normalized = hidden_states * torch.rsqrt(variance + self.eps)
        return self.weight * normalized.to(self.weight.dtype)


class RelativeAttention(nn.Module):
    """Self-attention with a bias per relative position and head, and without scaling."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.heads = config["num_heads"]
        self.buckets = config["relative_attention_num_buckets"]
        self.max_distance = config["relative_attention_max_distance"]
        width, inner = config["d_model"], config["num_heads"] * config["d_kv"]
        self.q = nn.Linear(width, inner, bias=False)
        self.k = nn.Linear(width, inner, bias=False)
        self.v = nn.Linear(width, inner, bias=False)
        self.o = nn.Linear(inner, width, bias=False)
        self.relative_attention_bias = Embedding(self.buckets, self.heads)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Attend within ``B N C``."""
        query, key, value = (
            split_heads(layer(hidden_states), self.heads) for layer in (self.q, self.k, self.v)
        )
        bias = self.position_bias(hidden_states.shape[1])
        return self.o(merge_heads(F.scaled_dot_product_attention(query, key, value, bias, scale=1.0)))

    def position_bias(self, length: int) -> torch.Tensor:
        """Return the bias ``1 H N N`` of the attention's scores."""
        positions = torch.arange(length, device=self.relative_attention_bias.weight.device)
        bias = self.relative_attention_bias(self._bucket(positions[None] - positions[:, None]))
        return bias.permute(2, 0, 1)[None]

    def _bucket(self, distance: torch.Tensor) -> torch.Tensor:
        """Half of the buckets are for each sign; of these, half are exact and half are logarithmic."""
        buckets = self.buckets // 2
        exact = buckets // 2
        size = distance.abs()
        growth = torch.log(size.float() / exact) / math.log(self.max_distance / exact) * (buckets - exact)
        far = (exact + growth.to(torch.long)).clamp(max=buckets - 1)
        return (distance > 0).to(torch.long) * buckets + torch.where(size < exact, size, far)


class GatedFeedForward(nn.Module):
    """Gated feed-forward; in float16, its second half runs in float32, where float16 would overflow."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(width, hidden, bias=False)
        self.wi_1 = nn.Linear(width, hidden, bias=False)
        self.wo = nn.Linear(hidden, width, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Transform ``B N C``; the result of float16 is float32."""
        gate, values = gelu_tanh(self.wi_0(hidden_states)), self.wi_1(hidden_states)
        if gate.dtype == torch.float16:
            gate, values = gate.float(), values.float()
        return self.wo(gate * values)


def gelu_tanh(values: torch.Tensor) -> torch.Tensor:
    """GELU by tanh in separate operations, as the model was trained; torch's own rounds differently."""
    inner = math.sqrt(2.0 / math.pi) * (values + 0.044715 * torch.pow(values, 3.0))
    return 0.5 * values * (1.0 + torch.tanh(inner))
