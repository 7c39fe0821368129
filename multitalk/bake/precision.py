"""What ``--precision`` means for each part of a baked folder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Precision:
    """How the parts of a baked folder are stored.

    The VAE and the audio encoder are always float32: encoding video is not safe in half precision, and both
    are small.

    Attributes:
        name: As in ``--precision``.
        dtype: "float32" or "bf16": of the transformer, the text encoder and the image encoder, except for
            quantized layers.
        transformer: Of the linear layers in the transformer's blocks: "int8", "fp8", or None for `dtype`.
        text_encoder: Of the text encoder's linear layers.
    """

    name: str
    dtype: str
    transformer: str | None = None
    text_encoder: str | None = None


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("float32", "float32"),
        Precision("bf16", "bf16"),
        Precision("int8", "bf16", "int8", "int8"),
        # the text encoder is always dequantized, and int8 with a scale per row is more accurate than fp8
        Precision("fp8", "bf16", "fp8", "int8"),
    )
}
