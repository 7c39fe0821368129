"""What encoding a request needs from the pipeline."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan
    from tokenizers import Tokenizer

    from ..models.audio_encoder import Wav2Vec2Encoder
    from ..models.image_encoder import CLIPVisionEncoder
    from ..models.text_encoder import UMT5Encoder
    from ..models.transformer import MultiTalkTransformer


class Encoders(Protocol):
    """The networks that encode text and audio, such as :class:`multitalk.pipeline.components.Components`."""

    @property
    def transformer(self) -> MultiTalkTransformer:
        """Projects the encoded text."""
        ...

    @property
    def text_encoder(self) -> UMT5Encoder:
        """UMT5's encoder."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """UMT5's tokenizer."""
        ...

    @property
    def audio_encoder(self) -> Wav2Vec2Encoder:
        """wav2vec2."""
        ...

    def using(self, part: str) -> AbstractContextManager[None]:
        """Keep "text_encoder" or "audio_encoder" ready to compute inside the context."""
        ...


class ImageEncoders(Protocol):
    """The networks that encode frames."""

    @property
    def vae(self) -> AutoencoderKLWan:
        """Wan's VAE."""
        ...

    @property
    def image_encoder(self) -> CLIPVisionEncoder:
        """CLIP."""
        ...

    def using(self, part: str) -> AbstractContextManager[None]:
        """Keep "vae" or "image_encoder" ready to compute inside the context."""
        ...


class Monitor(Protocol):
    """Times the stages of a job and can cancel it."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time a stage, and report that it starts."""
        ...

    def check_cancelled(self) -> None:
        """Raise :class:`multitalk.errors.Cancelled` if the job was cancelled."""
        ...
