"""The condition of one clip: what every model must provide to sample it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..sampling.schedule import FixedFrames
from .image import encode_image

if TYPE_CHECKING:
    from .job import JobConditions
    from .protocols import ImageEncoders
    from .timeline import ClipSpan


@dataclass(frozen=True)
class ClipCondition:
    """Conditions of a clip besides text and audio.

    Attributes:
        condition: The transformer's condition y, ``20 T h w`` float32.
        image_features: CLIP features, ``1 257 C``.
        motion: Latent frames that sampling does not change; None for none.
        start: Latents that sampling starts from, noised to the first timestep, ``16 T h w``; None starts from
            noise.
    """

    condition: torch.Tensor
    image_features: torch.Tensor
    motion: FixedFrames | None
    start: torch.Tensor | None = None


class ClipConditioner(ABC):
    """Conditions the clips of one job, in order; each model has its own subclass.

    Args:
        job: The job's encoded inputs.
        encoders: The VAE and the image encoder.
        frames_per_clip: 4n+1.
        generator: Random numbers of the job.
        check_cancelled: Called while the input is read; may raise.
        next_part: Called before each chunk that is encoded; may raise.
    """

    def __init__(
        self,
        job: JobConditions,
        encoders: ImageEncoders,
        frames_per_clip: int,
        generator: torch.Generator,
        check_cancelled: Callable[[], None],
        next_part: Callable[[], None],
    ) -> None:
        self.job = job
        self.encoders = encoders
        self.frames_per_clip = frames_per_clip
        self.generator = generator
        self.check_cancelled = check_cancelled
        self.next_part = next_part

    @abstractmethod
    def condition(self, span: ClipSpan, previous: torch.Tensor | None) -> ClipCondition:
        """Make the condition of a clip.

        Args:
            span: The clip.
            previous: The last decoded frames of the previous clip, ``3 m H W`` in [-1, 1] after color
                correction; None for the first clip of a scene.
        """

    @abstractmethod
    def encoded(self, span: ClipSpan) -> list[tuple[int, int]]:
        """Return what the VAE encodes for a clip: counts of frames, without and with the zeros after them."""

    def encode_image(self, frame: torch.Tensor) -> torch.Tensor:
        """Compute CLIP features ``1 257 C`` of a frame ``3 H W``."""
        with self.encoders.using("image_encoder"):
            return encode_image(self.encoders.image_encoder, frame)
