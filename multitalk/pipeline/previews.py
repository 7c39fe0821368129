"""Previews of a clip while it is sampled: a step's predicted clean latents, decoded by the small decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from ..errors import InvalidInput
from ..models.constants import FPS, preview_steps
from ..models.vae_stages import TEMPORAL_STRIDE, latent_frames
from .decode import needed_latents
from .results import OnPreview, Preview

if TYPE_CHECKING:
    import torch

    from ..conditioning.timeline import ClipSpan
    from ..marks.frames import FrameMarks
    from ..models.fast_decoder import FastDecoder
    from ..request.generation_request import GenerationRequest
    from .components import Components

PREVIEW_FPS = Fraction(FPS, TEMPORAL_STRIDE)


def check_fast_decoder(request: GenerationRequest, components: Components) -> None:
    """Check that the weights have the small decoder, if a request needs it.

    Raises:
        InvalidInput: They do not.
    """
    if components.fast_decoder is not None or (request.vae == "full" and not request.preview):
        return
    field = "vae" if request.vae == "fast" else "preview"
    value, instead = ("vae 'fast'", "Use 'full'") if field == "vae" else (field, "Set it to false")
    raise InvalidInput(
        f"{value} cannot be used: these weights lack the small decoder. {instead}, or fetch and bake the "
        "weights again.",
        field,
    )


@dataclass(frozen=True)
class ClipPreviews:
    """Decodes previews of one clip at evenly spaced steps.

    Attributes:
        decoder: The small decoder.
        span: The clip's frames.
        clips: Number of clips.
        steps: Steps of a clip.
        send: Called with each preview.
        tags: Tags of the previews' files.
        frame_marks: What the encoder adds to the frames.
    """

    decoder: FastDecoder
    span: ClipSpan
    clips: int
    steps: int
    send: OnPreview
    tags: Mapping[str, str]
    frame_marks: FrameMarks | None

    def __call__(self, step: int, latents: torch.Tensor) -> None:
        """Decode a preview if one is due.

        Args:
            step: Number of completed steps.
            latents: The predicted clean latents, ``C T h w``.
        """
        if step not in preview_steps(self.steps):
            return
        frames = self.decoder.preview(needed_latents(latents, self.span))
        shown = frames[latent_frames(self.span.skip) if self.span.skip else 0 :].cpu()
        self.send(
            Preview(
                self.span.index,
                self.clips,
                step,
                self.steps,
                shown,
                PREVIEW_FPS,
                self.tags,
                self.frame_marks,
            )
        )
