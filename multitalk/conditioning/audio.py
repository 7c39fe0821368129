"""Audio: resampling, loudness, and wav2vec2 features at 25 per second."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from ..models.constants import FPS

if TYPE_CHECKING:
    from ..models.audio_encoder import Wav2Vec2Encoder

SAMPLE_RATE = 16000
TARGET_LOUDNESS = -23.0  # LUFS, EBU R 128
_LOUDNESS_BLOCK = 0.4  # seconds; the meter needs at least one block


def to_model_rate(samples: np.ndarray, rate: int) -> np.ndarray:
    """Resample mono float32 samples to 16 kHz with librosa's default method; others change the features."""
    if rate == SAMPLE_RATE:
        return samples
    import soxr  # which librosa calls; importing librosa takes seconds, and the first time compiles functions

    resampled = np.zeros(math.ceil(len(samples) * (SAMPLE_RATE / rate)), np.float32)  # its length in librosa
    values = soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ")[: len(resampled)]
    resampled[: len(values)] = values
    return resampled


def normalize_loudness(samples: np.ndarray, rate: int = SAMPLE_RATE) -> np.ndarray:
    """Normalize the loudness of mono samples to -23 LUFS; silence is not changed.

    Args:
        samples: ``n`` float32. If shorter than the meter's block of 0.4 s, they are repeated for the
            measurement.
        rate: Samples per second.
    """
    import pyloudnorm

    block = math.ceil(_LOUDNESS_BLOCK * rate) + 1
    measured = samples if len(samples) >= block else np.resize(samples, block)
    with np.errstate(divide="ignore"):  # silence has a loudness of minus infinity
        loudness = pyloudnorm.Meter(rate).integrated_loudness(measured)
    if not abs(loudness) <= 100:
        return samples
    return pyloudnorm.normalize.loudness(samples, loudness, TARGET_LOUDNESS).astype(np.float32)


def feature_count(samples: int) -> int:
    """Return the number of features (video frames) of 16 kHz samples, in floating point as upstream."""
    return int(samples / SAMPLE_RATE * FPS)


def encode_audio(audio_encoder: Wav2Vec2Encoder, samples: np.ndarray) -> torch.Tensor:
    """Encode a track to the hidden states of all layers, one per video frame (docs/MODEL.md, section 4).

    The convolutional features (50 per second) are interpolated to 25 per second before the transformer.

    Args:
        audio_encoder: wav2vec2, or transformers' class of it.
        samples: ``n`` float32 at 16 kHz.

    Returns:
        ``F L C`` on the CPU, in the encoder's dtype: frames, layers, channels.
    """
    frames = feature_count(len(samples))

    def interpolate(module: torch.nn.Module, inputs: tuple, features: torch.Tensor) -> torch.Tensor:
        return F.interpolate(features, size=frames, mode="linear", align_corners=True)

    # as transformers' feature extractor: zero mean, unit variance
    values = torch.from_numpy((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7))[None]
    hook = audio_encoder.feature_extractor.register_forward_hook(interpolate)
    try:
        output = audio_encoder(
            values.to(device=audio_encoder.device, dtype=audio_encoder.dtype), output_hidden_states=True
        )
    finally:
        hook.remove()
    return torch.cat(output.hidden_states[1:]).transpose(0, 1).cpu()
