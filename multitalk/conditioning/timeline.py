"""The clips of a video and the stretch of sound each of them hears."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..models.constants import FPS


@dataclass(frozen=True)
class ClipSpan:
    """One clip of the video.

    Attributes:
        index: Number of the clip, from 0.
        start: First frame of the clip in the video.
        skip: Leading frames of the clip that the clip before has shown already.
        new_frames: Frames the video gets from this clip.
    """

    index: int
    start: int
    skip: int
    new_frames: int


def count_frames(seconds: float, features: int, max_seconds: float | None) -> int:
    """Frames of a video for all of its sound: a started frame counts.

    Args:
        seconds: Length of the sound.
        features: Audio features there are, ``int(seconds * 25)``.
        max_seconds: Where to stop, or None.
    """
    frames = max(features, math.ceil(seconds * FPS - 1e-6))
    if max_seconds is not None:
        frames = min(frames, max(1, math.ceil(max_seconds * FPS - 1e-6)))
    return frames


def clip_spans(frames: int, features: int, frames_per_clip: int, motion_frames: int) -> list[ClipSpan]:
    """Cut a video into clips that overlap by the motion frames.

    The last clip is the first that ends at or past the last feature (docs/MODEL.md, section 5: the end); a
    started frame beyond it is not worth a clip of its own.

    Args:
        frames: Frames wanted.
        features: Audio features there are.
        frames_per_clip: 4n+1.
        motion_frames: 4n+1, fewer than `frames_per_clip`.
    """
    plans: list[ClipSpan] = []
    start = 0
    while True:
        skip = motion_frames if plans else 0
        end = start + frames_per_clip
        last = end >= min(features, frames)
        plans.append(ClipSpan(len(plans), start, skip, (min(end, frames) if last else end) - start - skip))
        if last:
            return plans
        start = end - motion_frames


class AudioTimeline:
    """The features of every person over the whole video, read window by window.

    Args:
        embeddings: ``P F L C``: people, frames, layers, channels.
        frames_per_clip: Frames of a clip.
        window: Neighbouring features per frame, odd.
    """

    def __init__(self, embeddings: torch.Tensor, frames_per_clip: int, window: int) -> None:
        self.embeddings = embeddings
        self.frames_per_clip = frames_per_clip
        self.offsets = torch.arange(window) - window // 2

    def windows(self, start: int) -> torch.Tensor:
        """The windows of the clip that starts at a frame: ``P frames_per_clip window L C``.

        Where the clip ends at or past the last feature, the sound is continued by its mirror image, again and
        again if it is short (docs/MODEL.md, section 5: the end). Before the first and after the last feature of
        that timeline the nearest one repeats.
        """
        features = self.embeddings.shape[1]
        end = start + self.frames_per_clip
        length = features if end < features else end + len(self.offsets) // 2 + 1
        positions = torch.arange(start, end)[:, None] + self.offsets  # F W
        positions = positions.clamp(0, length - 1) % (2 * features)
        positions = torch.where(positions < features, positions, 2 * features - 1 - positions)
        return self.embeddings[:, positions]
