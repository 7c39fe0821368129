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


MAX_PIXELS = 9_000_000  # of an image; the search in larger ones takes minutes


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
    factor = math.sqrt(picture.width * picture.height / MAX_PIXELS)
    if factor > 1:
        picture = picture.resize(
            (round(picture.width / factor), round(picture.height / factor)), Image.Resampling.BOX
        )
    return Watermark.detect([np.asarray(picture)])


def _frames(video: Video) -> Iterator[np.ndarray]:
    reader = video.open()
    try:
        for index in range(MAX_FRAMES):
            number, picture = reader.read(FramePosition(number=index * STEP), lambda: None)
            if number < index * STEP:  # the end: the reader stays at the last frame
                return
            yield np.asarray(picture)
    finally:
        reader.close()
