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
    """

    watermark: Watermark | None = None
    label: Label | None = None

    @property
    def number(self) -> int | None:
        """The number in the watermark; None without one."""
        return None if self.watermark is None else self.watermark.number

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """Return a marked copy of a frame, uint8 ``H W 3`` RGB; the frame itself if there is no mark."""
        if self.label is not None:
            frame = self.label.draw(frame)
        # last, so that it also marks the label's area
        return frame if self.watermark is None else self.watermark.embed_frame(frame)
