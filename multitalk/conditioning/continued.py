"""The video that a job continues: its last frames, and all of them for a joined result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..media.frame_position import FramePosition
from ..models.constants import FPS
from .image import fit_image, prepare_image

if TYPE_CHECKING:
    from PIL import Image

    from ..media.source_video import Video

GROUP = 4  # frames that are passed on together


def last_frames(
    video: Video, count: int, height: int, width: int, check_cancelled: Callable[[], None]
) -> torch.Tensor:
    """Read the last frames of a video at the result's frame rate; only the end of the file is decoded.

    Args:
        video: The video.
        count: Number of frames.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        check_cancelled: Called before each frame; may raise.

    Returns:
        ``3 count H W`` float32 in [-1, 1].

    Raises:
        InvalidInput: The video cannot be decoded.
    """
    images = _frames(video, video.frames_at(FPS) - count, check_cancelled)
    return torch.stack([prepare_image(image, height, width) for image in images], dim=1)


def all_frames(
    video: Video, height: int, width: int, check_cancelled: Callable[[], None]
) -> Iterator[np.ndarray]:
    """Yield the frames of a video in groups ``f H W 3`` uint8; see :func:`last_frames`."""
    images = _frames(video, 0, check_cancelled)
    while group := [fit_image(image, height, width) for image in islice(images, GROUP)]:
        yield np.stack(group)


def _frames(video: Video, first: int, check_cancelled: Callable[[], None]) -> Iterator[Image.Image]:
    """Iterate over the frames at the result's frame rate, from one of them to the last."""
    reader = video.open(first / FPS)
    try:
        for frame in range(first, video.frames_at(FPS)):
            check_cancelled()
            yield reader.read(FramePosition(seconds=frame / FPS), check_cancelled)[1]
    finally:
        reader.close()
