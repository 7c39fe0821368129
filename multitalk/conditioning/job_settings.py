"""What a request and its preset say of every clip: size, sampling settings, guidance branches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..request.presets import Preset, SamplingSettings, settings_for
from ..sampling.guidance import Branch, needed_branches
from .size import choose_size, resolution_of

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest


@dataclass(frozen=True)
class JobSettings:
    """A request with nothing left open.

    Attributes:
        height, width: Of the video in pixels.
        resolution: "480p" or "720p", for the constants that depend on it.
        sampling: Steps, shift, guidance.
        branches: Guidance branches of every step.
    """

    height: int
    width: int
    resolution: str
    sampling: SamplingSettings
    branches: tuple[Branch, ...]


def resolve_settings(request: GenerationRequest, preset: Preset) -> JobSettings:
    """Complete a request.

    Args:
        request: The job.
        preset: Where settings come from that the request leaves open.
    """
    height, width = choose_size(request.size_with(preset), request.image.height, request.image.width)
    resolution = resolution_of(height, width)
    sampling = settings_for(
        preset, resolution, request.steps, request.shift, request.text_guidance, request.audio_guidance
    )
    branches = needed_branches(sampling.text_guidance, sampling.audio_guidance)
    return JobSettings(height, width, resolution, sampling, branches)
