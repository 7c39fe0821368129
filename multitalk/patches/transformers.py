"""Uses of transformers' internals: which tensors its classes keep in float32."""

from __future__ import annotations

from typing import Any

import torch

PINNED = {"transformers": ("5.17.0",)}


def modules_kept_in_float32(model: Any, dtype: torch.dtype) -> set[str]:
    """List the modules that ``from_pretrained`` loads in float32 although the dtype is narrower.

    Some classes keep modules in float32 only in float16, and others (strictly) in every narrower dtype.
    """
    kept = set(model._keep_in_fp32_modules_strict or ())
    return kept | set(model._keep_in_fp32_modules or ()) if dtype == torch.float16 else kept
