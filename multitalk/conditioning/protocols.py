"""What encoding a request needs from the pipeline."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from transformers import (
        PreTrainedTokenizerBase,
        UMT5EncoderModel,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Model,
    )

    from ..models.transformer import MultiTalkTransformer


class Encoders(Protocol):
    """The networks that encode text and audio, such as :class:`multitalk.pipeline.components.Components`."""

    @property
    def transformer(self) -> MultiTalkTransformer:
        """Projects the encoded text."""
        ...

    @property
    def text_encoder(self) -> UMT5EncoderModel:
        """UMT5's encoder."""
        ...

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """UMT5's tokenizer."""
        ...

    @property
    def audio_encoder(self) -> Wav2Vec2Model:
        """wav2vec2."""
        ...

    @property
    def feature_extractor(self) -> Wav2Vec2FeatureExtractor:
        """wav2vec2's normalization."""
        ...

    def using(self, part: str) -> AbstractContextManager[None]:
        """Keep "text_encoder" or "audio_encoder" ready to compute inside the context."""
        ...


class Monitor(Protocol):
    """Times the stages of a job and can cancel it."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time a stage, and report that it starts."""
        ...

    def check_cancelled(self) -> None:
        """Raise :class:`multitalk.errors.Cancelled` if the job was cancelled."""
        ...
