"""Clips of a video, and their audio windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from ..models.constants import FPS


@dataclass(frozen=True)
class ClipSpan:
    """Frames of one clip.

    Attributes:
        index: Index of the clip, from 0.
        start: Index of the clip's first frame in the video.
        skip: Leading frames that belong to the previous clip.
        new_frames: Frames that the clip adds to the video.
        scene_end: Index of the frame at which another scene starts; None if none does.
    """

    index: int
    start: int
    skip: int
    new_frames: int
    scene_end: int | None = None

    @property
    def starts_scene(self) -> bool:
        """Whether the clip does not continue the one before."""
        return self.skip == 0


def count_frames(seconds: float, features: int, max_seconds: float | None) -> int:
    """Return the number of frames of a video, rounded up to include all of its sound.

    Args:
        seconds: Length of the sound.
        features: Number of audio features, ``int(seconds * 25)``.
        max_seconds: Maximum length of the video, or None.
    """
    frames = max(features, math.ceil(seconds * FPS - 1e-6))
    if max_seconds is not None:
        frames = min(frames, max(1, math.ceil(max_seconds * FPS - 1e-6)))
    return frames


def clip_spans(
    frames: int, features: int, frames_per_clip: int, motion_frames: int, continues: bool = False
) -> list[ClipSpan]:
    """Split a video into clips that overlap by the motion frames.

    The first clip that ends at or past the last feature is the last one (docs/MODEL.md, section 5). A frame
    that is left over because the number of frames is rounded up does not get another clip.

    Args:
        frames: Number of frames of the video.
        features: Number of audio features.
        frames_per_clip: 4n+1.
        motion_frames: 4n+1, less than `frames_per_clip`.
        continues: Whether the first clip has motion frames, too: those of another video. They are the first
            frames, which `frames` and `features` do not count.
    """
    spans: list[ClipSpan] = []
    start = 0
    if continues:
        frames, features = frames + motion_frames, features + motion_frames
    while True:
        skip = motion_frames if spans or continues else 0
        end = start + frames_per_clip
        last = end >= min(features, frames)
        spans.append(ClipSpan(len(spans), start, skip, (min(end, frames) if last else end) - start - skip))
        if last:
            return spans
        start = end - motion_frames


def scene_spans(
    spans: list[ClipSpan], cuts: Sequence[int], frames_per_clip: int, motion_frames: int
) -> list[ClipSpan]:
    """Let a clip start at each cut; the video keeps its frames.

    Every scene is split like a video of its own: its first clip has no motion frames, and the frames of its
    last clip that are after the cut are not used.

    Args:
        spans: The clips without cuts.
        cuts: Indices of the frames at which another scene starts, in order.
        frames_per_clip: 4n+1.
        motion_frames: 4n+1, less than `frames_per_clip`.
    """
    frames = spans[-1].start + spans[-1].skip + spans[-1].new_frames
    bounds = [0, *(cut for cut in cuts if 0 < cut < frames), frames]
    scenes: list[ClipSpan] = []
    for start, end in pairwise(bounds):
        length = end - start
        for span in clip_spans(length, length, frames_per_clip, motion_frames):
            index, scene_end = len(scenes), None if end == frames else end
            scenes.append(replace(span, index=index, start=start + span.start, scene_end=scene_end))
    return scenes


class AudioTimeline:
    """Audio features of all people over the whole video.

    Args:
        embeddings: ``P F L C``: people, frames, layers, channels.
        frames_per_clip: Frames of a clip.
        window: Neighboring features per frame, odd.
    """

    def __init__(self, embeddings: torch.Tensor, frames_per_clip: int, window: int) -> None:
        self.embeddings = embeddings
        self.frames_per_clip = frames_per_clip
        self.offsets = torch.arange(window) - window // 2

    def windows(self, start: int) -> torch.Tensor:
        """Return the windows of the clip that starts at a frame, ``P frames_per_clip window L C``.

        If the clip ends at or past the last feature, the features are extended by their mirror image,
        repeatedly if necessary (docs/MODEL.md, section 5). Windows are clamped at both ends of the extended
        features.
        """
        features = self.embeddings.shape[1]
        end = start + self.frames_per_clip
        length = features if end < features else end + len(self.offsets) // 2 + 1
        positions = torch.arange(start, end)[:, None] + self.offsets  # F W
        positions = positions.clamp(0, length - 1) % (2 * features)
        positions = torch.where(positions < features, positions, 2 * features - 1 - positions)
        return self.embeddings[:, positions]
