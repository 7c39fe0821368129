"""Positions in a video: of a frame, and of a cut between two scenes."""

from __future__ import annotations

from dataclasses import dataclass

SAME_TIME = 1e-3  # seconds; some containers round timestamps to milliseconds


@dataclass(frozen=True)
class FramePosition:
    """A position in a video: the number of a frame, or seconds after the first frame."""

    number: int | None = None
    seconds: float | None = None

    @property
    def order(self) -> float:
        """A number that grows from the start of the video to its end."""
        return self.seconds if self.seconds is not None else float(self.number or 0)


@dataclass(frozen=True)
class Cut:
    """A cut: the first frame of another scene.

    Attributes:
        number: The frame's number.
        seconds: When it is shown, after the first frame.
    """

    number: int
    seconds: float

    def is_reached(self, position: FramePosition) -> bool:
        """Whether the frame at a position belongs to the scene after the cut, or to a later one."""
        if position.seconds is not None:
            return self.seconds <= position.seconds + SAME_TIME
        return self.number <= (position.number or 0)
