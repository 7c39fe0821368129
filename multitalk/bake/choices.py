"""What may be chosen when weights are fetched and baked, by name; without torch, which a fetch lacks."""

from __future__ import annotations

from typing import Literal, get_args

PrecisionName = Literal["float32", "bf16", "int8", "fp8"]
TransformerSource = Literal["published", "int8", "int8-fusionx"]
TextEncoderSource = Literal["published", "int8"]

PRECISIONS: tuple[PrecisionName, ...] = get_args(PrecisionName)
TRANSFORMER_SOURCES: tuple[TransformerSource, ...] = get_args(TransformerSource)
TEXT_ENCODER_SOURCES: tuple[TextEncoderSource, ...] = get_args(TextEncoderSource)
