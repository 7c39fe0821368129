"""Finding the cuts of a video with PySceneDetect; runs in a decoder process.

A cut is a frame that differs from the one before far more than its neighbors do, so that fast movement is no
cut. Fades and dissolves are not found.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import cv2
from scenedetect import AdaptiveDetector, FrameTimecode

from .frame_position import Cut

if TYPE_CHECKING:
    from .video_decoding import VideoFrames

NEIGHBORS = 2  # frames on both sides that a frame is compared with
# A shorter scene, such as a flash, belongs to the one before: a clip must not be conditioned on it.
SHORTEST_SCENE = 0.2  # seconds
LONGER_SIDE = 256  # pixels of a frame that is compared, as in PySceneDetect

cv2.setNumThreads(1)  # the frames are small, and every thread takes address space, which is limited


def find_cuts(frames: VideoFrames, number: int | None, seconds: float | None) -> list[Cut]:
    """Find the cuts up to a position.

    Args:
        frames: The video, at its first frame; decoded as far as needed.
        number: Number of the last frame that is looked at.
        seconds: Instead, its time after the first frame.
    """
    detector = AdaptiveDetector(min_scene_len=0, window_width=NEIGHBORS)
    recent: deque[Cut] = deque(maxlen=NEIGHBORS + 1)  # its first one is the frame that a reported cut is at
    cuts: list[Cut] = []
    compared = 0

    def compare() -> None:
        nonlocal compared
        recent.append(Cut(frames.number, frames.seconds))
        if detector.process_frame(FrameTimecode(compared, 1.0), frames.small(LONGER_SIDE)):
            cuts.append(recent[0])
        compared += 1

    for _ in range(NEIGHBORS):  # so that the second frame, too, has neighbors before it
        compare()
    compare()
    missing, end = NEIGHBORS, float("inf")
    while missing:
        if not frames.advance():
            end = frames.end
            break
        compare()
        missing -= frames.is_after(number, seconds)
    ends = [*(cut.seconds for cut in cuts), end][1:]
    return [cut for cut, end in zip(cuts, ends, strict=True) if end - cut.seconds >= SHORTEST_SCENE]
