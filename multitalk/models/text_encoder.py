"""UMT5's encoder with 8-bit weights."""

from __future__ import annotations

from transformers import UMT5Config, UMT5EncoderModel

from .quantized import quantize_linears


class QuantizedUMT5EncoderModel(UMT5EncoderModel):
    """transformers' encoder whose linear layers are quantised as ``config.quantization`` says.

    They are always dequantised for the product: a prompt is encoded once, and UMT5's activations have
    outliers that 8 bits per token wouldn't hold. Embedding, position bias and norms stay as they are.
    """

    _keep_in_fp32_modules_strict = {"scale"}

    def __init__(self, config: UMT5Config) -> None:
        super().__init__(config)
        quantize_linears(self, config.quantization)
