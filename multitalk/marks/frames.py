"""The marks in the frames of one job's files: applied where they are encoded, the same for all clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .label import Label
from .watermark import Watermark


@dataclass(frozen=True)
class FrameMarks:
    """What the encoder adds to each frame.

    Attributes:
        watermark: The imperceptible mark, or None.
        label: The visible label, or None.
        labeled: Number of the first frames that have a label already.
    """

    watermark: Watermark | None = None
    label: Label | None = None
    labeled: int = 0

    @property
    def number(self) -> int | None:
        """The number in the watermark; None without one."""
        return None if self.watermark is None else self.watermark.number

    def apply(self, frame: np.ndarray, index: int) -> np.ndarray:
        """Return a marked copy of a frame; the frame itself if there is no mark.

        Args:
            frame: uint8 ``H W 3``, RGB.
            index: Its number in the file.
        """
        if self.label is not None and index >= self.labeled:
            frame = self.label.draw(frame)
        # last, so that it also marks the label's area
        return frame if self.watermark is None else self.watermark.embed_frame(frame)
