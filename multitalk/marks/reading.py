"""Read the watermark of a video file or a screenshot of one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InvalidInput
from ..media.frame_position import FramePosition
from ..media.picture import read_picture
from ..media.source_video import Video, read_video
from .watermark import MAX_FRAMES, Watermark

STEP = 4  # every fourth frame: neighbors add little
# Larger ones are reduced: the search takes minutes and gigabytes. Of a frame: 1920x1080.
MAX_PIXELS, MAX_FRAME_PIXELS = 9_000_000, 1920 * 1080


def read_watermark(source: str | Path | bytes) -> int | None:
    """Return the number in the watermark of a file, which is decoded in a decoder process.

    Args:
        source: Path of a video or an image, or its bytes. Of a video, the first ten seconds are read.

    Returns:
        The number; None if the file has no watermark, or one that was destroyed.

    Raises:
        InvalidInput: The file can be read neither as a video nor as an image.
    """
    try:
        video = read_video(source)
    except InvalidInput:
        return picture_watermark(read_picture(source))
    return Watermark.detect(_frames(video))


def picture_watermark(picture: Image.Image) -> int | None:
    """Return the number in the watermark of an image, RGB, such as a screenshot; None if it has none."""
    return Watermark.detect([_pixels(picture, MAX_PIXELS)])


def _pixels(picture: Image.Image, most: int) -> np.ndarray:
    """Return an image as an array, reduced to a number of pixels."""
    factor = math.sqrt(picture.width * picture.height / most)
    if factor > 1:
        size = (max(1, round(picture.width / factor)), max(1, round(picture.height / factor)))
        picture = picture.resize(size, Image.Resampling.BOX)
    return np.asarray(picture)


def _frames(video: Video) -> Iterator[np.ndarray]:
    reader = video.open()
    try:
        for index in range(MAX_FRAMES):
            number, picture = reader.read(FramePosition(number=index * STEP), lambda: None)
            if number < index * STEP:  # the end: the reader stays at the last frame
                return
            yield _pixels(picture, MAX_FRAME_PIXELS)
    finally:
        reader.close()
