"""Completion of a request by its preset: size, sampling settings and guidance branches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..request.presets import Preset, SamplingSettings, settings_for
from ..sampling.guidance import Branch, needed_branches
from .size import choose_size, resolution_of

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest


@dataclass(frozen=True)
class ResolvedSettings:
    """Settings of a request after defaults were applied.

    Attributes:
        height, width: Size of the video in pixels.
        resolution: "480p" or "720p": selects constants of presets and caches.
        sampling: Steps, shift and guidance scales.
        branches: Guidance branches of every step.
    """

    height: int
    width: int
    resolution: str
    sampling: SamplingSettings
    branches: tuple[Branch, ...]


def resolve_settings(request: GenerationRequest, preset: Preset) -> ResolvedSettings:
    """Complete the settings of a request.

    Args:
        request: The job.
        preset: Supplies the settings that the request does not set.
    """
    height, width = choose_size(request.size_with(preset), request.image.height, request.image.width)
    resolution = resolution_of(height, width)
    sampling = settings_for(
        preset, resolution, request.steps, request.shift, request.text_guidance, request.audio_guidance
    )
    branches = needed_branches(sampling.text_guidance, sampling.audio_guidance)
    return ResolvedSettings(height, width, resolution, sampling, branches)
