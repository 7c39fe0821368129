"""Networks with random weights at chosen sizes: what is measured needs no checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKLWan
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from multitalk.models.cpu_convolution import use_onednn
from multitalk.models.transformer import MultiTalkTransformer


@dataclass(frozen=True)
class Scale:
    """Widths of the networks; depths are cut, since a stage's share doesn't depend on them.

    Attributes:
        heads: Of the transformer, 128 wide each.
        ffn_dim: Of the transformer.
        layers: Of every network.
        text_dim: Width of the text encoder.
        image_dim: Width of the image encoder.
        vae_dim: Base width of the VAE.
    """

    heads: int
    ffn_dim: int
    layers: int
    text_dim: int
    image_dim: int
    vae_dim: int


SCALES = {
    "small": Scale(heads=8, ffn_dim=2816, layers=4, text_dim=1024, image_dim=640, vae_dim=32),
    "real": Scale(heads=40, ffn_dim=13824, layers=1, text_dim=4096, image_dim=1280, vae_dim=96),
}


def make_transformer(scale: Scale) -> MultiTalkTransformer:
    return MultiTalkTransformer(
        num_attention_heads=scale.heads,
        ffn_dim=scale.ffn_dim,
        num_layers=scale.layers,
        text_dim=scale.text_dim,
        image_dim=scale.image_dim,
    ).eval()


def make_text_encoder(scale: Scale) -> UMT5EncoderModel:
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=1000,
            d_model=scale.text_dim,
            d_kv=64,
            d_ff=scale.text_dim * 5 // 2,
            num_heads=scale.text_dim // 64,
            num_layers=scale.layers,
            feed_forward_proj="gated-gelu",
        )
    ).eval()


def make_image_encoder(scale: Scale) -> CLIPVisionModel:
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=scale.image_dim,
            intermediate_size=scale.image_dim * 4,
            num_hidden_layers=scale.layers,
            num_attention_heads=scale.image_dim // 80,
            patch_size=14,
            hidden_act="gelu",
        )
    ).eval()


def make_audio_encoder(scale: Scale) -> Wav2Vec2Model:
    return Wav2Vec2Model(Wav2Vec2Config(num_hidden_layers=scale.layers)).eval()


def make_vae(scale: Scale) -> AutoencoderKLWan:
    vae = AutoencoderKLWan(base_dim=scale.vae_dim).eval()
    use_onednn(vae)
    return vae


def make_audio_windows(transformer: MultiTalkTransformer, people: int, frames: int) -> torch.Tensor:
    config = transformer.config
    return torch.randn(people, frames, config.audio_window, config.audio_layers, config.audio_channels)
