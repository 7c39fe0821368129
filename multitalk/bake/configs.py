"""Derive the configurations of the models from the shapes of their published tensors."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from ..errors import WeightsError
from ..weights.tensor_files import TensorSource

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Facts about the published model that its files do not contain (docs/MODEL.md, sections 2 and 3).
AUDIO_WINDOW = 5
IMAGE_ENCODER_HEADS = 16


def _shape(source: TensorSource, key: str) -> tuple[int, ...]:
    try:
        return source.info(key).shape
    except KeyError:
        names = ", ".join(str(path) for path in source.files()[:2])
        raise WeightsError(f"Weights file {names} has no tensor {key}.") from None


def count_blocks(source: TensorSource, blocks: str) -> int:
    """Count repeated blocks by the names of their tensors.

    Args:
        source: The tensors.
        blocks: Published name of the list of blocks.
    """
    pattern = re.compile(rf"{re.escape(blocks)}\.(\d+)\.")
    return 1 + max((int(match[1]) for match in map(pattern.match, source.keys()) if match), default=-1)


def transformer_config(
    source: TensorSource, published: dict[str, Any], audio_encoder: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of :class:`multitalk.models.transformer.MultiTalkTransformer`.

    Args:
        source: The published tensors.
        published: Wan's ``config.json``.
        audio_encoder: wav2vec2's ``config.json``.
    """
    dim, in_channels, *patch_size = _shape(source, "patch_embedding.weight")
    audio_dim = _shape(source, "audio_proj.norm.weight")[0]
    audio_channels = audio_encoder["hidden_size"]
    hidden_dim, audio_in = _shape(source, "audio_proj.proj1.weight")
    out_features = _shape(source, "head.head.weight")[0]
    return {
        "patch_size": tuple(patch_size),
        "num_attention_heads": published["num_heads"],
        "attention_head_dim": dim // published["num_heads"],
        "in_channels": in_channels,
        "out_channels": out_features // math.prod(patch_size),
        "text_dim": _shape(source, "text_embedding.0.weight")[1],
        "text_len": published["text_len"],
        "freq_dim": _shape(source, "time_embedding.0.weight")[1],
        "ffn_dim": _shape(source, "blocks.0.ffn.0.weight")[0],
        "num_layers": count_blocks(source, "blocks"),
        "eps": published["eps"],
        "image_dim": _shape(source, "img_emb.proj.0.weight")[0],
        "audio_window": AUDIO_WINDOW,
        "audio_layers": audio_in // (AUDIO_WINDOW * audio_channels),
        "audio_channels": audio_channels,
        "audio_hidden_dim": hidden_dim,
        "audio_tokens": _shape(source, "audio_proj.proj3.weight")[0] // audio_dim,
        "audio_dim": audio_dim,
    }


def text_encoder_config(source: TensorSource) -> dict[str, Any]:
    """Return UMT5's configuration. The position embedding has one channel per head."""
    from transformers import UMT5Config

    vocab_size, width = _shape(source, "token_embedding.weight")
    buckets, heads = _shape(source, "blocks.0.pos_embedding.embedding.weight")
    config = UMT5Config(
        vocab_size=vocab_size,
        d_model=width,
        d_kv=_shape(source, "blocks.0.attn.q.weight")[0] // heads,
        d_ff=_shape(source, "blocks.0.ffn.fc1.weight")[0],
        num_layers=count_blocks(source, "blocks"),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
        feed_forward_proj="gated-gelu",
        layer_norm_epsilon=1e-6,
        architectures=["UMT5EncoderModel"],
    )
    return _content(config)


def image_encoder_config(source: TensorSource) -> dict[str, Any]:
    """Return the configuration of CLIP's image encoder, with one layer less than published."""
    from transformers import CLIPVisionConfig

    width, channels, patch, _ = _shape(source, "visual.patch_embedding.weight")
    grid = math.isqrt(_shape(source, "visual.pos_embedding")[1] - 1)
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=_shape(source, "visual.transformer.0.mlp.0.weight")[0],
        num_hidden_layers=count_blocks(source, "visual.transformer") - 1,
        num_attention_heads=IMAGE_ENCODER_HEADS,
        num_channels=channels,
        image_size=grid * patch,
        patch_size=patch,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
        architectures=["CLIPVisionModel"],
    )
    return _content(config)


def vae_config(source: TensorSource) -> dict[str, Any]:
    """Return the arguments of diffusers' ``AutoencoderKLWan`` that differ from its defaults."""
    return {
        "base_dim": _shape(source, "encoder.conv1.weight")[0],
        "z_dim": _shape(source, "conv2.weight")[0],
    }


def fast_decoder_config(source: TensorSource) -> dict[str, Any]:
    """Return the configuration of the small decoder."""
    first, channels, _, _ = _shape(source, "decoder.1.weight")
    following = [_shape(source, f"decoder.{index}.weight")[0] for index in (8, 14, 20)]
    return {"latent_channels": channels, "widths": [first, *following]}


def audio_encoder_config(published: dict[str, Any]) -> dict[str, Any]:
    """Return wav2vec2's configuration without its training options."""
    from transformers import Wav2Vec2Config

    training = {"apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    config = {**published, **training, "architectures": ["Wav2Vec2Model"]}
    return _content(Wav2Vec2Config.from_dict(config))


def _content(config: PreTrainedConfig) -> dict[str, Any]:
    """Return what transformers would write into ``config.json``."""
    return json.loads(config.to_json_string())
