"""Uses of PyTorch's private operations and methods."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

PINNED = {"torch": ("2.5.1", "2.8.0", "2.13.0")}


def raise_recompile_limits(count: int) -> None:
    """Let torch compile one function at least this many times; the option's name depends on the version."""
    config = torch._dynamo.config
    for name in ("recompile_limit", "cache_size_limit"):
        for limit in (name, f"accumulated_{name}"):
            if hasattr(config, limit):
                setattr(config, limit, max(count, getattr(config, limit)))


def is_default_compile_cache(folder: str) -> bool:
    """Return whether a folder for compiled kernels is one that torch chooses by default."""
    return folder.startswith(str(Path(tempfile.gettempdir()) / "torchinductor_"))
