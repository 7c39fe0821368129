"""Convert published tensors of the encoders and the VAE to the names of their libraries.

See :mod:`multitalk.weights.renames` for the transformer, whose table is also used when LoRAs are switched.
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
    """Return the table for CLIP's image encoder -> transformers' CLIPVisionModel without its last layer.

    The transformer is conditioned on the output of the layer before the last (docs/MODEL.md, section 4).

    Args:
        layers: Number of layers in the published file.
        width: Channels of the tokens.
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


def convert_vae_tensor(key: str, tensor: torch.Tensor) -> Named:
    """Convert one tensor of the VAE with diffusers' own table."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    return list(convert_wan_vae_to_diffusers({key: tensor}).items())


def _fast_decoder_names() -> dict[str, str]:
    """Name the modules of the small decoder's three stages: three memory blocks, growth and projection."""
    names = {"decoder.1": "conv_in", "decoder.22": "conv_out"}
    for stage, first in enumerate((3, 9, 15)):
        new = f"stages.{stage}"
        for block in range(3):
            for conv in range(3):
                published = f"decoder.{first + block}.conv.{2 * conv}"  # activations are between them
                names[published] = f"{new}.blocks.{block}.convs.{conv}"
        names |= {f"decoder.{first + 4}.conv": f"{new}.grow", f"decoder.{first + 5}": f"{new}.projection"}
    return names


# TAEHV, a list of modules, without its encoder.
FAST_DECODER = RenameTable(names=_fast_decoder_names(), ignored=("encoder.",))

# Parts of wav2vec2 that are used only in training.
_AUDIO_TRAINING = ("masked_spec_embed", "quantizer.", "project_hid.", "project_q.", "lm_head.")
_AUDIO_RENAMES = {
    # the two tensors of the weight norm, in the names of older and of newer versions of torch
    "encoder.pos_conv_embed.conv.weight_g": "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
    "encoder.pos_conv_embed.conv.weight_v": "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
}


def convert_audio_encoder_tensor(key: str, tensor: torch.Tensor) -> Named:
    """Convert one tensor of wav2vec2. Only the weight norm differs from transformers' names."""
    key = key.removeprefix("wav2vec2.")
    if key.startswith(_AUDIO_TRAINING):
        return []
    return [(_AUDIO_RENAMES.get(key, key), tensor)]
