"""How MultiTalk conditions a clip (docs/MODEL.md, sections 4 and 5.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..models.video_vae import latent_frames
from ..sampling.schedule import MotionFrames
from .clip import ClipCondition, ClipConditioner
from .image import MASK_CHANNELS, make_condition

if TYPE_CHECKING:
    from .timeline import ClipSpan


class MultiTalkConditioner(ClipConditioner):
    """Continues from the frames before: the picture, then the last frames of the previous clip.

    They are the condition y, the last one is what CLIP sees, and their latents are fixed while sampling,
    noised to the step.
    """

    def condition(self, span: ClipSpan, previous: torch.Tensor | None) -> ClipCondition:
        """See :meth:`ClipConditioner.condition`."""
        frames = self.job.image[:, None] if previous is None else previous
        with self.encoders.using("vae"):
            condition = make_condition(self.encoders.vae, frames, self.frames_per_clip, self.next_part)
        motion = None
        if previous is not None:
            latents = condition[MASK_CHANNELS:, : latent_frames(frames.shape[1])]
            motion = MotionFrames(latents, self.generator)
        return ClipCondition(condition, self.encode_image(frames[:, -1]), motion)

    def encoded(self, span: ClipSpan) -> list[tuple[int, int]]:
        """See :meth:`ClipConditioner.encoded`."""
        return [(span.skip or 1, self.frames_per_clip)]
