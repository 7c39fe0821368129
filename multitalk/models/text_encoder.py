"""UMT5's encoder with int8 weights."""

from __future__ import annotations

from transformers import UMT5Config, UMT5EncoderModel

from ..patches.transformers import keep_in_float32
from .quantized import quantize_linears


@keep_in_float32("scale")
class QuantizedUMT5EncoderModel(UMT5EncoderModel):
    """transformers' UMT5 encoder with int8 linear layers (``config.quantization``).

    Weights are always dequantized for the product: a prompt is encoded once, and UMT5's activations have
    outliers that 8 bits per token cannot represent. Embedding, position bias and norms are not quantized. fp8
    is not supported: transformers casts activations to the dtype of a layer's weights unless it is int8, and
    int8 is more exact anyway.
    """

    def __init__(self, config: UMT5Config) -> None:
        super().__init__(config)
        if config.quantization != "int8":
            raise ValueError(f"quantization of the text encoder must be int8, not {config.quantization}.")
        quantize_linears(self, config.quantization)
