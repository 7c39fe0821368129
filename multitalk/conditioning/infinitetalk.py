"""How InfiniteTalk conditions a clip (docs/MODEL.md, section 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..models.video_vae import encode_condition
from ..sampling.schedule import CleanMotionFrames
from .clip import ClipCondition, ClipConditioner
from .image import make_condition

if TYPE_CHECKING:
    from .timeline import ClipSpan


class InfiniteTalkConditioner(ClipConditioner):
    """Returns to the input with every clip: the picture, or the video's frame at the clip's start.

    It is the condition y and what CLIP sees. The last frames of the previous clip (for the first clip of a
    scene: the input's frame) are fixed as clean latents while sampling.
    """

    _frame: torch.Tensor | None = None  # what the two below were made from
    _condition: torch.Tensor
    _features: torch.Tensor

    def condition(self, span: ClipSpan, previous: torch.Tensor | None) -> ClipCondition:
        """See :meth:`ClipConditioner.condition`."""
        self._encode(self.job.source.frame(span.start, self.check_cancelled))
        assert self._frame is not None
        frames = self._frame[:, None] if previous is None else previous
        with self.encoders.using("vae"):
            latents = encode_condition(self.encoders.vae, frames, frames.shape[1], self.next_part)
        # in the first clip, the reference draws no noise for them
        motion = CleanMotionFrames(latents, None if previous is None else self.generator)
        return ClipCondition(self._condition, self._features, motion, self._source_latents(span))

    def encoded(self, span: ClipSpan) -> list[tuple[int, int]]:
        """See :meth:`ClipConditioner.encoded`."""
        motion = span.skip or 1
        encoded = [(motion, motion)]
        if span.index == 0 or self.job.source.changes:
            encoded.append((1, self.frames_per_clip))
        if self.job.outline.strength is not None:
            encoded.append((self.frames_per_clip, self.frames_per_clip))
        return encoded

    def _source_latents(self, span: ClipSpan) -> torch.Tensor | None:
        """Encode the input's frames of a clip, if sampling starts from them (dub "exact")."""
        if self.job.outline.strength is None:
            return None
        frames = self.job.source.frames(
            span.start, self.frames_per_clip, span.scene_end, self.check_cancelled
        )
        with self.encoders.using("vae"):
            return encode_condition(self.encoders.vae, frames, frames.shape[1], self.next_part)

    def _encode(self, frame: torch.Tensor) -> None:
        """Encode a frame of the input, unless it is the last clip's: a picture is encoded once per job."""
        if frame is self._frame:
            return
        with self.encoders.using("vae"):
            self._condition = make_condition(
                self.encoders.vae, frame[:, None], self.frames_per_clip, self.next_part
            )
        self._features = self.encode_image(frame)
        self._frame = frame
