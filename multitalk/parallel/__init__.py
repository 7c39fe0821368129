"""One video on several processes, each with its own GPU.

Process 0 has an ordinary :class:`multitalk.pipeline.pipeline.MultiTalkPipeline`: it encodes, draws the random
numbers, guides, decodes and writes the file. The other processes have the transformer only and take part in
its
calls, in two ways at once: they share a video's tokens (:mod:`multitalk.models.sequence`), and groups of
processes compute different guidance branches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .launch import connected
from .layout import ParallelSettings

if TYPE_CHECKING:
    from .follower import Follower
    from .loading import load_pipeline

__all__ = ["Follower", "ParallelSettings", "connected", "load_pipeline"]

_MODULES = {"Follower": "follower", "load_pipeline": "loading"}


def __getattr__(name: str) -> Any:
    # imported on first use: they import torch, which takes seconds
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
