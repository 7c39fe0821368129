"""The length of the video, from its sound and from the video that it dubs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest


def limit_seconds(request: GenerationRequest) -> float | None:
    """Return the seconds after which the video ends, whatever the length of its sound; None for no limit."""
    limits = [] if request.max_seconds is None else [request.max_seconds]
    if request.video is not None and request.length != "audio":
        limits.append(request.video.seconds)
    return min(limits, default=None)


def padded_seconds(request: GenerationRequest, seconds: float) -> float:
    """Return the length of the sound after silence is appended, if the video is longer.

    Args:
        request: The job.
        seconds: Length of its sound.
    """
    if request.video is None or request.length != "video":
        return seconds
    limit = limit_seconds(request)
    return max(seconds, request.video.seconds if limit is None else limit)


def expected_seconds(request: GenerationRequest, seconds: float) -> float:
    """Return the length of the video for a length of the sound."""
    limit, padded = limit_seconds(request), padded_seconds(request, seconds)
    return padded if limit is None else min(padded, limit)
