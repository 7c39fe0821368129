"""The published names of tensors and the libraries' names: conversion as data.

A table works on one tensor at a time (on the meta device as well), so that a model is converted shard by
shard, and what a LoRA adds to one published tensor finds its place in the converted model.
"""

from __future__ import annotations

import torch

from ..weights.renames import Named, RenameTable

# Wan's UMT5 -> transformers' UMT5EncoderModel.
TEXT_ENCODER = RenameTable(
    names={"token_embedding": "shared", "norm": "encoder.final_layer_norm"},
    blocks=("blocks", "encoder.block"),
    block_names={
        "norm1": "layer.0.layer_norm",
        "attn.q": "layer.0.SelfAttention.q",
        "attn.k": "layer.0.SelfAttention.k",
        "attn.v": "layer.0.SelfAttention.v",
        "attn.o": "layer.0.SelfAttention.o",
        "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
        "norm2": "layer.1.layer_norm",
        "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
        "ffn.fc1": "layer.1.DenseReluDense.wi_1",
        "ffn.fc2": "layer.1.DenseReluDense.wo",
    },
)


def image_encoder_table(layers: int, width: int) -> RenameTable:
    """The visual half of CLIP -> transformers' CLIPVisionModel without its last layer.

    What the transformer is conditioned on is the output of the layer before the last (docs/MODEL.md, section 4),
    so the last is left out.

    Args:
        layers: In the published file.
        width: Of the tokens.
    """
    attention = "self_attn"
    return RenameTable(
        names={
            "visual.cls_embedding": "embeddings.class_embedding",
            "visual.pos_embedding": "embeddings.position_embedding.weight",
            "visual.patch_embedding": "embeddings.patch_embedding",
            "visual.pre_norm": "pre_layrnorm",
            "visual.post_norm": "post_layernorm",
        },
        blocks=("visual.transformer", "encoder.layers"),
        block_names={
            "norm1": "layer_norm1",
            "attn.to_qkv.weight": tuple(f"{attention}.{name}_proj.weight" for name in "qkv"),
            "attn.to_qkv.bias": tuple(f"{attention}.{name}_proj.bias" for name in "qkv"),
            "attn.proj": f"{attention}.out_proj",
            "norm2": "layer_norm2",
            "mlp.0": "mlp.fc1",
            "mlp.2": "mlp.fc2",
        },
        reshape={"visual.cls_embedding": (width,), "visual.pos_embedding": (-1, width)},
        ignored=("textual.", "log_scale", "visual.head", f"visual.transformer.{layers - 1}."),
    )


def convert_text_encoder_tensor(key: str, tensor: torch.Tensor) -> Named:
    """Convert one tensor of UMT5; see :meth:`RenameTable.convert`."""
    return TEXT_ENCODER.convert(key, tensor)


def convert_vae_tensor(key: str, tensor: torch.Tensor) -> Named:
    """Convert one tensor of the VAE, by diffusers' own table."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    return list(convert_wan_vae_to_diffusers({key: tensor}).items())


# Parts of wav2vec2 that are used in training alone.
_AUDIO_TRAINING = ("masked_spec_embed", "quantizer.", "project_hid.", "project_q.", "lm_head.")
_AUDIO_RENAMES = {
    # weight norm, as older and as newer versions of torch name its two tensors
    "encoder.pos_conv_embed.conv.weight_g": "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
    "encoder.pos_conv_embed.conv.weight_v": "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
}


def convert_audio_encoder_tensor(key: str, tensor: torch.Tensor) -> Named:
    """Convert one tensor of wav2vec2: transformers' own names but for the weight norm."""
    key = key.removeprefix("wav2vec2.")
    if key.startswith(_AUDIO_TRAINING):
        return []
    return [(_AUDIO_RENAMES.get(key, key), tensor)]
