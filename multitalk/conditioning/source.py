"""The input as frames: the picture, or the frames of a video at the clips' starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch

from ..media.source_video import FramePosition, Video, VideoReader
from ..models.constants import FPS
from .image import prepare_image

if TYPE_CHECKING:
    from PIL import Image


class FrameSource(Protocol):
    """The input of a job, as frames of the video's size.

    Attributes:
        changes: Whether its frames differ.
    """

    changes: bool

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be decoded so far, one sentence each."""
        ...

    def frame(self, start: int, check_cancelled: Callable[[], None]) -> torch.Tensor:
        """Return the frame of a clip, ``3 H W`` in [-1, 1]; for the same frame, the same tensor.

        Args:
            start: Index of the clip's first frame, not less than in the previous call.
            check_cancelled: Called while the frame is read; may raise.
        """
        ...

    def frames(self, start: int, count: int, check_cancelled: Callable[[], None]) -> torch.Tensor:
        """Return the frames of a whole clip, ``3 count H W``; see :meth:`frame` for the arguments."""
        ...

    def close(self) -> None:
        """Release what is open; there are no more clips."""
        ...


class PictureSource:
    """A picture: the same frame for every clip.

    Args:
        image: ``3 H W`` in [-1, 1].
    """

    changes = False
    warnings = ()

    def __init__(self, image: torch.Tensor) -> None:
        self.image = image

    def frame(self, start: int, check_cancelled: Callable[[], None]) -> torch.Tensor:
        """See :meth:`FrameSource.frame`."""
        return self.image

    def frames(self, start: int, count: int, check_cancelled: Callable[[], None]) -> torch.Tensor:
        """See :meth:`FrameSource.frames`."""
        return self.image[:, None].expand(-1, count, -1, -1)

    def close(self) -> None:
        """Nothing to release."""


class VideoSource:
    """A video, which is read forward, one frame per clip.

    Args:
        video: The video.
        first: Its first frame, ``3 H W`` in [-1, 1].
        timing: "time": the frame shown at a clip's start; "frame": the frame with the number of a clip's
            first frame, whatever the video's frame rate.
        end: What follows the last frame: "hold" (that frame), "loop" or "pingpong" (back and forth).
    """

    changes = True

    def __init__(self, video: Video, first: torch.Tensor, timing: str, end: str) -> None:
        self.video = video
        self.timing = timing
        self.end = end
        self._frame, self._number = first, 0
        self._reader: VideoReader | None = None
        self._kept: dict[int, tuple[int, Image.Image]] = {0: (0, video.picture)}  # by frame of the result

    @property
    def warnings(self) -> tuple[str, ...]:
        """See :class:`FrameSource`."""
        return () if self._reader is None else self._reader.warnings

    def frame(self, start: int, check_cancelled: Callable[[], None]) -> torch.Tensor:
        """See :meth:`FrameSource.frame`."""
        number, image = self._read(start, check_cancelled)
        if number != self._number:
            self._frame, self._number = self._prepare(image), number
        return self._frame

    def frames(self, start: int, count: int, check_cancelled: Callable[[], None]) -> torch.Tensor:
        """See :meth:`FrameSource.frames`. Clips overlap, so the last clip's frames are kept."""
        wanted = range(start, start + count)
        # forward, even while the video runs backward
        order = sorted(wanted, key=lambda index: self.position(index).order)
        self._kept = {index: self._read(index, check_cancelled) for index in order}
        return torch.stack([self._prepare(self._kept[index][1]) for index in wanted], dim=1)

    def _read(self, index: int, check_cancelled: Callable[[], None]) -> tuple[int, Image.Image]:
        """Return number and image of the video's frame for a frame of the result."""
        if index in self._kept:
            return self._kept[index]
        if self._reader is None:
            self._reader = self.video.open()
        return self._reader.read(self.position(index), check_cancelled)

    def position(self, start: int) -> FramePosition:
        """Return the position in the video of the clip that starts at a frame."""
        if self.timing == "frame":
            last = self.video.frames - 1
            return FramePosition(number=int(_fold(start, self.video.frames, last, self.end)))
        seconds = self.video.seconds
        return FramePosition(seconds=_fold(start / FPS, seconds, seconds, self.end))

    def close(self) -> None:
        """End the process that decodes the video."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _prepare(self, image: Image.Image) -> torch.Tensor:
        height, width = self._frame.shape[1:]
        return prepare_image(image, height, width).to(self._frame.device)


def _fold(position: float, length: float, last: float, end: str) -> float:
    """Map a position after the end of a video into it.

    Args:
        position: From 0.
        length: Where a loop begins again.
        last: Where the video turns back.
        end: "hold" (positions after the end are kept), "loop" or "pingpong".
    """
    if end == "loop":
        return position % length
    if end == "pingpong" and last > 0:
        position %= 2 * last
        return min(position, 2 * last - position)
    return position
