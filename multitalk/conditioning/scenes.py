"""The scenes of a video that is dubbed: where its cuts are in the result, and the clips that start there."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from .source import position_in
from .timeline import ClipSpan, clip_spans, scene_spans

if TYPE_CHECKING:
    from ..media.frame_position import FramePosition
    from ..request.generation_request import GenerationRequest


def find_scenes(request: GenerationRequest, frames: int, check_cancelled: Callable[[], None]) -> None:
    """Find the cuts of a request's video, as far as the result shows it.

    Args:
        request: A job with ``scenes``.
        frames: Number of frames of the result.
        check_cancelled: Called while the video is decoded; may raise.

    Raises:
        InvalidInput: The video cannot be decoded.
    """
    assert request.video is not None, "scenes need one"
    last = max(_positions(request, frames), key=lambda position: position.order)
    request.video.find_cuts(last, check_cancelled)


def plan_clips(request: GenerationRequest, frames: int, features: int, motion_frames: int) -> list[ClipSpan]:
    """Split the result into clips; with ``scenes``, one starts at each cut that was found.

    Args:
        request: The job.
        frames: Number of frames of the result.
        features: Number of audio features.
        motion_frames: Frames that a clip shares with the previous one.
    """
    continues = request.continue_from is not None
    spans = clip_spans(frames, features, request.frames_per_clip, motion_frames, continues)
    if not request.scenes or request.video is None or not request.video.cuts:
        return spans
    cuts = request.video.cuts
    # where a video starts again or runs backward, the scenes change, too
    scenes = [sum(cut.is_reached(at) for cut in cuts) for at in _positions(request, frames)]
    starts = [frame for frame, (before, scene) in enumerate(pairwise(scenes), 1) if scene != before]
    return scene_spans(spans, starts, request.frames_per_clip, motion_frames)


def _positions(request: GenerationRequest, frames: int) -> list[FramePosition]:
    """Return the position in the video of each frame of the result."""
    video = request.video
    assert video is not None
    return [position_in(video, frame, request.video_timing, request.video_end) for frame in range(frames)]
