"""The marks in the frames of one job's files: applied where they are encoded, the same for all clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .label import Label
from .watermark import MIN_PIXELS, Watermark, number_of


@dataclass(frozen=True)
class FrameMarks:
    """What the encoder adds to each frame.

    Attributes:
        watermark: The imperceptible mark, or None.
        label: The visible label, or None.
    """

    watermark: Watermark | None = None
    label: Label | None = None

    @classmethod
    def of_job(cls, label: Label | None, pixels: int, job_id: str, is_watermarked: bool = True) -> FrameMarks:
        """Make the marks of a job.

        Args:
            label: The visible label, or None.
            pixels: Size of a frame. Frames below ``MIN_PIXELS`` get no watermark, since it could not be read.
            job_id: Decides the number in the watermark.
            is_watermarked: Whether to add the watermark.
        """
        is_added = is_watermarked and pixels >= MIN_PIXELS
        return cls(Watermark(number_of(job_id)) if is_added else None, label)

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
