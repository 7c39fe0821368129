"""The parts of the model, loaded from a baked weights folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .acceleration import accelerate
from .hardware import HardwarePlan
from .models.quantized import QUANTIZED_LINEARS, set_matmuls
from .weights.store import (
    WeightsFolder,
    load_audio_encoder,
    load_image_encoder,
    load_text_encoder,
    load_transformer,
    load_vae,
)

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan
    from transformers import (
        CLIPVisionModel,
        PreTrainedTokenizerBase,
        UMT5EncoderModel,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Model,
    )

    from .models.transformer import MultiTalkTransformer


@dataclass(frozen=True)
class Components:
    """The networks and what turns raw input into theirs.

    Attributes:
        transformer: Predicts the velocity.
        vae: Between frames and latents: its encoder in float32, its decoder in bfloat16 on GPUs that have it.
        text_encoder, tokenizer: For the prompt.
        image_encoder: CLIP, without its last block.
        audio_encoder, feature_extractor: For the sound, float32.
    """

    transformer: MultiTalkTransformer
    vae: AutoencoderKLWan
    text_encoder: UMT5EncoderModel
    tokenizer: PreTrainedTokenizerBase
    image_encoder: CLIPVisionModel
    audio_encoder: Wav2Vec2Model
    feature_extractor: Wav2Vec2FeatureExtractor


def load_components(folder: WeightsFolder, plan: HardwarePlan) -> Components:
    """Load every part once, straight to its device.

    Raises:
        WeightsError: A file is missing or doesn't fit.
    """
    import torch

    from .models.attention_backends import set_attention_backends
    from .models.video_vae import prepare_decoder

    device, dtype = plan.device, plan.dtype
    transformer = load_transformer(folder, device, dtype, _quantization(plan.transformer_precision))
    set_matmuls(transformer, device)
    set_attention_backends(transformer, plan.attention_backend, plan.cross_attention_backend)
    accelerate(transformer, plan, folder.path)
    # the text encoder has one 8-bit form
    text_quantization = "int8" if _quantization(plan.text_encoder_precision) else None
    text_encoder, tokenizer = load_text_encoder(folder, device, dtype, text_quantization)
    audio_encoder, feature_extractor = load_audio_encoder(folder, device, torch.float32)
    vae = load_vae(folder, device, torch.float32)
    if device.type == "cuda" and dtype == torch.bfloat16:
        prepare_decoder(vae, dtype)
    return Components(
        transformer=transformer,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        image_encoder=load_image_encoder(folder, device, dtype),
        audio_encoder=audio_encoder,
        feature_extractor=feature_extractor,
    )


def _quantization(precision: str) -> str | None:
    """What is quantised while it is loaded, where the folder's isn't."""
    return precision if precision in QUANTIZED_LINEARS else None
