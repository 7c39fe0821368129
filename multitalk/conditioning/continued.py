"""The video that a job continues: its last frames, and all of them for a joined result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from ..errors import InvalidInput
from ..marks.label import Label
from ..media.frame_position import FramePosition
from ..models.constants import FPS
from ..request.checks import check_size
from ..request.parts import LabelSpec
from .image import CoverCrop, fit_image, prepare_image
from .resolve import SIDE_MULTIPLE, choose_size

if TYPE_CHECKING:
    from ..media.source_video import Video

GROUP = 4  # frames that are passed on together


def own_label(video: Video) -> Label | None:
    """Return the visible label in a video that was made here, by the settings in its file.

    Returns:
        The label; None without one, or if the video has another size than in its settings.
    """
    settings, (width, height) = video.origin.settings, video.picture.size
    if not isinstance(settings.get("label"), dict):
        return None
    try:
        label = LabelSpec.checked(settings["label"]).drawable()
        stated = choose_size(check_size(settings.get("size")), height, width)
        label.check_size(width, height)
    except InvalidInput:  # a file can contain anything
        return None
    # a named size keeps the aspect ratio of an image that is unknown here
    tolerance = SIDE_MULTIPLE if isinstance(settings["size"], str) else 0
    is_original = all(
        abs(one - other) <= tolerance for one, other in zip(stated, (height, width), strict=True)
    )
    return label if is_original else None


def shows_own_label(video: Video, height: int, width: int) -> bool:
    """Return whether a video that is scaled and cropped to a size still shows its label."""
    label, (own_width, own_height) = own_label(video), video.picture.size
    if label is None:
        return False
    crop = CoverCrop.of(own_height, own_width, height, width)
    scale = crop.resized_width / own_width
    left, top, right, bottom = (side * scale for side in label.box(own_width, own_height))
    return (
        crop.left <= left and crop.top <= top and right <= crop.left + width and bottom <= crop.top + height
    )


def last_picture(video: Video) -> Image.Image:
    """Return the last frame of a video as the model sees it: without its own label."""
    return _without(own_label(video), video.last_picture)


def _without(label: Label | None, image: Image.Image) -> Image.Image:
    return image if label is None else Image.fromarray(label.remove(np.asarray(image)))


def last_frames(
    video: Video, count: int, height: int, width: int, check_cancelled: Callable[[], None]
) -> torch.Tensor:
    """Read the last frames of a video at the result's frame rate, without the label of a video made here.

    Only the end of the file is decoded.

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
    label = own_label(video)
    images = _frames(video, video.frames_at(FPS) - count, check_cancelled)
    return torch.stack([prepare_image(_without(label, image), height, width) for image in images], dim=1)


def all_frames(
    video: Video, height: int, width: int, check_cancelled: Callable[[], None]
) -> Iterator[np.ndarray]:
    """Yield the frames of a video in groups ``f H W 3`` uint8, as they are."""
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
