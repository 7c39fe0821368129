"""Uses of diffusers' internals: which tensors its classes keep in float32."""

from __future__ import annotations

from typing import Any

PINNED = {"diffusers": ("0.38.0",)}


def modules_kept_in_float32(model: Any) -> set[str]:
    """List the modules that ``from_pretrained`` loads in float32 although the dtype is narrower."""
    return set(model._keep_in_fp32_modules or ())
