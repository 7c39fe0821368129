"""MultiTalk: a picture and a voice in, a talking video out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline import MultiTalkPipeline
    from .progress import Progress
    from .request import GenerationRequest
    from .results import Clip, GenerationResult

__version__ = "0.1.0"
__all__ = ["Clip", "GenerationRequest", "GenerationResult", "MultiTalkPipeline", "Progress"]

_HOMES = {
    "Clip": "results",
    "GenerationRequest": "request",
    "GenerationResult": "results",
    "MultiTalkPipeline": "pipeline",
    "Progress": "progress",
}


def __getattr__(name: str) -> Any:
    # torch and diffusers take seconds to import; a request or an error message needs neither
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
