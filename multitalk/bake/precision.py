"""What ``--precision`` means, part by part."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import InvalidInput


@dataclass(frozen=True)
class Precision:
    """How the parts of a baked folder are stored.

    The VAE and the audio encoder are float32 in all of them: encoding video isn't safe in half precision, and
    both are small.

    Attributes:
        name: As in ``--precision``.
        dtype: Of the transformer, the text encoder and the image encoder, where they aren't quantized.
        transformer: Of the linear layers of the transformer's blocks: "int8", "fp8", or None for `dtype`.
        text_encoder: Of the text encoder's linear layers.
    """

    name: str
    dtype: torch.dtype
    transformer: str | None = None
    text_encoder: str | None = None


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("float32", torch.float32),
        Precision("bf16", torch.bfloat16),
        Precision("int8", torch.bfloat16, "int8", "int8"),
        # the text encoder is always dequantized, and int8 with a factor per row is the more exact of the two
        Precision("fp8", torch.bfloat16, "fp8", "int8"),
    )
}

_DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bf16"}


def find_precision(name: str) -> Precision:
    """A precision by its name.

    Raises:
        InvalidInput: It is unknown.
    """
    if name not in PRECISIONS:
        *others, last = PRECISIONS
        raise InvalidInput(
            f"precision '{name}' is unknown; use {', '.join(others)} or {last}.",
            "precision",
        )
    return PRECISIONS[name]


def part_precision(dtype: torch.dtype, quantization: str | None) -> str:
    """Precision of one part, as the manifest names it."""
    return quantization or _DTYPE_NAMES[dtype]
