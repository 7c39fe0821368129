"""Checks of a request's fields about the video that it continues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InvalidInput
from ..models.constants import FPS
from ..runtime.environment import max_audio_seconds
from .checks import MAX_SIDE, MIN_SIDE, SIDE_STEP
from .model_kinds import MODELS, ModelKind

if TYPE_CHECKING:
    from ..media.sound import Sound
    from ..media.source_video import Video
    from .generation_request import GenerationRequest
    from .presets import Preset

SMALL, SMALL_SIDE = "160p", 160  # a size, and its shorter side
MOST_PIXELS = 1.05 * 720 * 1280  # of a size that is taken from a video: 720p, and the multiples of 16 near it


def check_continued(request: GenerationRequest) -> Sound | None:
    """Check the fields about the continued video together; return its sound, if it is used.

    Raises:
        InvalidInput: The video is too short or too long, or there is none.
    """
    video = request.continue_from
    if video is None:
        if not request.join:
            raise InvalidInput(
                "join needs a video to continue (False). Provide a video in continue_from, or remove join.",
                "join",
            )
        return None
    kinds = list(MODELS.values()) if request.model is None else [MODELS[request.model]]
    check_motion_frames(request, min(kinds, key=lambda kind: kind.motion_frames_of(request)))
    limit = max_audio_seconds()
    if request.join and video.seconds > limit:
        raise InvalidInput(
            f"continue_from is {video.seconds:.1f} seconds long, but a video that is joined may have at most "
            f"{limit:g} seconds. Set join to false, or raise MAX_AUDIO_SECONDS.",
            "continue_from",
        )
    is_used = request.join or len(request.speaking) == 1
    return video.read_sound() if video.has_sound and is_used and video.seconds <= limit else None


def check_motion_frames(request: GenerationRequest, kind: ModelKind) -> None:
    """Check that the continued video, if there is one, has enough frames for a model.

    Raises:
        InvalidInput: It has not.
    """
    if request.continue_from is None:
        return
    needed, frames = kind.motion_frames_of(request), request.continue_from.frames_at(FPS)
    if frames < needed:
        raise InvalidInput(
            f"continue_from is too short: it has {frames} frames at {FPS} per second, but {kind.title} "
            f"continues from {needed}. Use a longer video, or set motion_frames to "
            f"{(frames - 1) // 4 * 4 + 1} or less.",
            "continue_from",
        )


def own_size(video: Video, preset: Preset) -> tuple[int, int] | None:
    """Return (height, width) of a video, if a result with a preset can have this size, else None."""
    width, height = video.picture.size
    fits = all(side % SIDE_STEP == 0 and MIN_SIDE <= side <= MAX_SIDE for side in (height, width))
    if preset.size == SMALL:  # of weights that were trained with it
        fits = fits and min(height, width) <= SMALL_SIDE
    return (height, width) if fits and height * width <= MOST_PIXELS else None
