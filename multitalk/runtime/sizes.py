"""The sizes of the model: widths, depths, parameter counts and bytes of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..weights.store import WeightsFolder

LORA_RANK = 32
# Bytes per element of a large matrix.
BYTES = {"float32": 4, "bf16": 2, "fp16": 2, "int8": 1, "fp8": 1}


@dataclass(frozen=True)
class ModelSizes:
    """Widths, depths and parameter counts; the defaults are the published model's (docs/MODEL.md, section 3).

    Attributes:
        dim, heads, ffn_dim, layers: Width, attention heads, feed-forward width and depth of the transformer.
        text_dim, text_len, image_dim, freq_dim: Sizes of its conditions: text width and tokens, image width,
            width of the timestep's frequencies.
        audio_features: Values per audio feature: hidden layers times channels of the audio encoder.
        audio_hidden_dim, audio_tokens, audio_dim: Sizes of the audio projection.
        text_matrices: Parameters of the text encoder's layers.
        text_down: Parameters of the feed-forwards' last matrices in these layers, which stay in float32 when
            the rest is float16.
        text_embedding: Parameters of the text encoder's vocabulary.
        text_layers: Depth of the text encoder.
        image_parameters, audio_parameters, vae_parameters: Parameters of the image encoder, the audio encoder
            and the VAE.
        vae_dim: Channels of the VAE at full resolution.
        fast_decoder_dim: Channels of the small decoder at full resolution.
    """

    dim: int = 5120
    heads: int = 40
    ffn_dim: int = 13824
    layers: int = 40
    text_dim: int = 4096
    text_len: int = 512
    image_dim: int = 1280
    freq_dim: int = 256
    audio_features: int = 12 * 768
    audio_hidden_dim: int = 512
    audio_tokens: int = 32
    audio_dim: int = 768
    text_matrices: int = 24 * (4 * 4096 * 4096 + 3 * 4096 * 10240)
    text_down: int = 24 * 4096 * 10240
    text_embedding: int = 256384 * 4096
    text_layers: int = 24
    image_parameters: int = 611_000_000
    audio_parameters: int = 94_400_000
    vae_parameters: int = 126_900_000
    vae_dim: int = 96
    fast_decoder_dim: int = 64

    @property
    def block_matrices(self) -> int:
        """Parameters of the linear layers of one transformer block, without biases."""
        attention = 4 * self.dim**2  # query, key, value, output
        cross = 6 * self.dim**2  # query and output; keys and values of text and image
        audio = 2 * self.dim**2 + 2 * self.audio_dim * self.dim
        return attention + cross + audio + 2 * self.dim * self.ffn_dim

    @property
    def block_vectors(self) -> int:
        """Parameters of the biases, norms and modulation of one block."""
        biases = (4 + 6 + 4 + 1) * self.dim + self.ffn_dim
        norms = (2 + 3 + 2 + 2) * self.dim  # self-attention, cross-attention, norm2, audio norm
        return biases + norms + 6 * self.dim

    @property
    def time_parameters(self) -> int:
        """Parameters of the timestep embedding, which stay in float32."""
        return (self.freq_dim + self.dim + 6 * self.dim) * self.dim + (1 + 1 + 6) * self.dim

    @property
    def other_parameters(self) -> int:
        """Parameters of the transformer outside its blocks and the timestep embedding."""
        patches = 36 * 4 * self.dim + self.dim
        text = (self.text_dim + self.dim + 2) * self.dim
        image = (self.image_dim + self.dim) * self.image_dim + self.image_dim + self.dim
        image_norms = 2 * self.image_dim + 2 * self.dim
        hidden = self.audio_hidden_dim
        audio = (5 + 8) * self.audio_features * hidden + hidden**2 + 3 * hidden
        tokens = (hidden + 1) * self.audio_tokens * self.audio_dim + 2 * self.audio_dim
        output = (self.dim + 1) * 64 + 2 * self.dim
        return patches + text + image + image_norms + audio + tokens + output

    @property
    def transformer_parameters(self) -> int:
        """Parameters of the transformer."""
        blocks = self.layers * (self.block_matrices + self.block_vectors)
        return blocks + self.time_parameters + self.other_parameters

    def block_bytes(self, precision: str) -> int:
        """Return the bytes of a block with matrices in a precision; vectors are counted in float32."""
        scales = 4 * self.block_vectors if BYTES[precision] == 1 else 0  # one per row, like biases
        return self.block_matrices * BYTES[precision] + 4 * self.block_vectors + scales

    def outer_bytes(self, precision: str) -> int:
        """Return the bytes of the transformer outside its blocks, which has at least 16 bits."""
        return 4 * self.time_parameters + max(2, BYTES[precision]) * self.other_parameters

    @property
    def lora_bytes(self) -> int:
        """Bytes of a LoRA in 16 bits, with the rank of the published ones."""
        widths = 10 * 2 * self.dim + 2 * (self.dim + self.ffn_dim)  # inputs and outputs of a block's layers
        return self.layers * widths * LORA_RANK * 2

    def text_layer_bytes(self, precision: str) -> int:
        """Return the bytes of one layer of the text encoder."""
        float32 = 2 * self.text_down if precision == "fp16" else 0
        return (self.text_matrices * BYTES[precision] + float32) // max(1, self.text_layers)

    def text_bytes(self, precision: str) -> int:
        """Return the bytes of the text encoder."""
        return self.text_layers * self.text_layer_bytes(precision) + self.text_outer_bytes(precision)

    def text_outer_bytes(self, precision: str) -> int:
        """Return the bytes of the text encoder's vocabulary, which is not quantized."""
        return self.text_embedding * max(2, BYTES[precision])

    @classmethod
    def of(cls, folder: WeightsFolder) -> ModelSizes:
        """Read the sizes of a baked folder from its manifest and configuration."""
        from ..weights.libraries import read_config

        config: Mapping[str, Any] = read_config("transformer", folder.part("transformer"))
        counts = {
            part: {name: math.prod(info.shape) for name, info in tensors.items() if _is_weight(name)}
            for part, tensors in folder.manifest.tensors.items()
        }
        text = counts["text_encoder"]
        embedding = max(
            (n for name, n in text.items() if "shared" in name or "embed_tokens" in name), default=0
        )
        layers = {name.split(".block.")[1].split(".")[0] for name in text if ".block." in name}
        return cls(
            dim=config["num_attention_heads"] * config["attention_head_dim"],
            heads=config["num_attention_heads"],
            ffn_dim=config["ffn_dim"],
            layers=config["num_layers"],
            text_dim=config["text_dim"],
            text_len=config["text_len"],
            image_dim=config["image_dim"],
            freq_dim=config["freq_dim"],
            audio_features=config["audio_layers"] * config["audio_channels"],
            audio_hidden_dim=config["audio_hidden_dim"],
            audio_tokens=config["audio_tokens"],
            audio_dim=config["audio_dim"],
            text_matrices=sum(text.values()) - embedding,
            text_down=sum(count for name, count in text.items() if ".wo." in name),
            text_embedding=embedding,
            text_layers=len(layers),
            image_parameters=sum(counts["image_encoder"].values()),
            audio_parameters=sum(counts["audio_encoder"].values()),
            vae_parameters=sum(counts["vae"].values()),
            vae_dim=read_config("vae", folder.part("vae"))["base_dim"],
            fast_decoder_dim=_fast_decoder_dim(folder),
        )


def _fast_decoder_dim(folder: WeightsFolder) -> int:
    """Return the width of a folder's small decoder, or the published one's if it has none."""
    from ..weights.folders import FAST_DECODER
    from ..weights.libraries import read_config

    if not folder.manifest.has_fast_decoder:
        return ModelSizes.fast_decoder_dim
    return read_config(FAST_DECODER, folder.part(FAST_DECODER))["widths"][-1]


def _is_weight(name: str) -> bool:
    """Return whether a stored tensor is a parameter, and not the scale of a quantized one."""
    return not name.endswith(("scale", "_scale"))


PUBLISHED = ModelSizes()
