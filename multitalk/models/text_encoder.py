"""UMT5's encoder with 8-bit weights."""

from __future__ import annotations

from transformers import UMT5Config, UMT5EncoderModel

from .quantized import quantize_linears


class QuantizedUMT5EncoderModel(UMT5EncoderModel):
    """transformers' encoder with int8 linear layers, as ``config.quantization`` says.

    They are always dequantized for the product: a prompt is encoded once, and UMT5's activations have
    outliers that 8 bits per token wouldn't hold. Embedding, position bias and norms stay as they are. There
    is no fp8 form: transformers casts activations to the dtype of a layer's weights unless they are int8,
    which is the more exact of the two anyway.
    """

    _keep_in_fp32_modules_strict = {"scale"}

    def __init__(self, config: UMT5Config) -> None:
        super().__init__(config)
        if config.quantization != "int8":
            raise ValueError(f"a text encoder's quantization is int8, not {config.quantization}")
        quantize_linears(self, config.quantization)
