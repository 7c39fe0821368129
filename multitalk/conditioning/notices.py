"""What a user should know about a result, beside what was lost when its files were read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..models.constants import FPS
from ..request.script import PAIR
from .image import CoverCrop

if TYPE_CHECKING:
    from ..media.source_video import Video
    from ..request.generation_request import GenerationRequest

VISIBLE_CROP = 0.05  # of a side; sizes that keep the aspect ratio are rounded to multiples of 16


def notices(request: GenerationRequest, height: int, width: int, frames: int) -> list[str]:
    """Return one sentence about each way in which the result may differ from what is expected.

    Args:
        request: The job.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        frames: Number of frames of the result.
    """
    found = [] if request.video is None else _video_notices(request, request.video, height, width, frames)
    continued = request.continue_from
    if continued is not None and continued.picture.size != (width, height):
        own = "x".join(map(str, continued.picture.size))
        found.append(f"continue_from: the video is {own} and was scaled and cropped to {width}x{height}.")
    if request.people > len(PAIR):
        found.append(
            f"The published weights were trained with up to two people. With {request.people}, a voice may "
            "move other mouths."
        )
    return found


def _video_notices(
    request: GenerationRequest, video: Video, height: int, width: int, frames: int
) -> list[str]:
    """Return in what the result does not show the video as it is."""
    notices = []
    shown = video.frames / FPS if request.video_timing == "frame" else video.seconds
    if request.video_end == "hold" and frames > shown * FPS + 1:
        notices.append(
            f"video: it ends after {shown:.1f} of {frames / FPS:.1f} seconds, then its last frame is held. "
            "Use a longer video or shorter audio."
        )
    picture = request.picture
    crop = CoverCrop.of(picture.height, picture.width, height, width)
    cropped = {
        "width": 1 - crop.width / crop.resized_width,
        "height": 1 - crop.height / crop.resized_height,
    }
    side = max(cropped, key=lambda name: cropped[name])
    if cropped[side] > VISIBLE_CROP:
        notices.append(
            f"video: {cropped[side]:.0%} of its {side} is cropped, because the result is {width}x{height}. "
            "Choose a size with the video's aspect ratio to keep all of it."
        )
    return notices
