"""MultiTalk: an image and a voice in, a talking video out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline.pipeline import MultiTalkPipeline
    from .pipeline.progress import Progress
    from .pipeline.results import Clip, GenerationResult
    from .request.generation_request import GenerationRequest

__version__ = "0.1.0"
__all__ = ["Clip", "GenerationRequest", "GenerationResult", "MultiTalkPipeline", "Progress"]

_MODULES = {
    "Clip": "pipeline.results",
    "GenerationRequest": "request.generation_request",
    "GenerationResult": "pipeline.results",
    "MultiTalkPipeline": "pipeline.pipeline",
    "Progress": "pipeline.progress",
}


def __getattr__(name: str) -> Any:
    # imported on first use: torch and diffusers take seconds, and a request needs neither
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
