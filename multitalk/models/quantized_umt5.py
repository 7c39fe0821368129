"""transformers' UMT5 encoder with int8 weights, for programs that load a baked folder with transformers."""

from __future__ import annotations

from transformers import UMT5Config, UMT5EncoderModel

from ..patches.transformers import keep_in_float32
from .quantized import quantize_linears


@keep_in_float32("scale")
class QuantizedUMT5EncoderModel(UMT5EncoderModel):
    """transformers' UMT5 encoder with int8 linear layers (``config.quantization``).

    The pipeline runs :class:`multitalk.models.text_encoder.UMT5Encoder`, which gives the same results.
    """

    def __init__(self, config: UMT5Config) -> None:
        super().__init__(config)
        quantize_linears(self, config.quantization)
