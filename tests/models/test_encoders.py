"""The encoders compute what transformers' classes compute, from the same configuration and tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedModel,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from multitalk.models.audio_encoder import Wav2Vec2Encoder
from multitalk.models.encoder import Encoder
from multitalk.models.image_encoder import CLIPVisionEncoder
from multitalk.models.quantized_umt5 import QuantizedUMT5EncoderModel
from multitalk.models.text_encoder import UMT5Encoder

DTYPES = [torch.float32, torch.bfloat16]


def twins(ours: type[Encoder], theirs: type[PreTrainedModel], config: Any, dtype: torch.dtype) -> list[Any]:
    """Build both with the same random weights, far from an initialization's zeros and ones."""
    torch.manual_seed(0)
    reference = theirs(config).eval()
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    state = reference.state_dict()
    model = ours(config.to_dict()).eval()
    model.load_state_dict({name: value for name, value in state.items() if not name.endswith("position_ids")})
    return [model.to(dtype), reference.to(dtype)]


@torch.inference_mode()
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 7, 300])  # 300: beyond the largest distance of the position bias
def test_text_encoder(dtype: torch.dtype, length: int) -> None:
    config = UMT5Config(
        vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=3, num_heads=4, feed_forward_proj="gated-gelu"
    )
    ours, theirs = twins(UMT5Encoder, UMT5EncoderModel, config, dtype)
    tokens = torch.randint(0, 50, (1, length))
    expected = theirs(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
    assert torch.equal(ours(tokens).last_hidden_state, expected)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", DTYPES)
def test_image_encoder(dtype: torch.dtype) -> None:
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, image_size=56,
        patch_size=14, hidden_act="gelu",
    )  # fmt: skip
    ours, theirs = twins(CLIPVisionEncoder, CLIPVisionModel, config, dtype)
    pixels = torch.randn(2, 3, 56, 56).to(dtype)
    assert torch.equal(
        ours(pixel_values=pixels).last_hidden_state, theirs(pixel_values=pixels).last_hidden_state
    )


@torch.inference_mode()
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("positions", [15, 16])
def test_audio_encoder(dtype: torch.dtype, positions: int) -> None:
    config = Wav2Vec2Config(
        hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_conv_pos_embeddings=positions, num_conv_pos_embedding_groups=4,
        conv_dim=(16,) * 7, mask_time_prob=0.05,
    )  # fmt: skip
    ours, theirs = twins(Wav2Vec2Encoder, Wav2Vec2Model, config, dtype)
    samples = torch.randn(1, 8000).to(dtype)
    got, expected = ours(samples), theirs(samples, output_hidden_states=True)
    assert len(got.hidden_states) == len(expected.hidden_states) == 4
    assert all(map(torch.equal, got.hidden_states, expected.hidden_states))
    assert torch.equal(got.last_hidden_state, expected.last_hidden_state)


@torch.inference_mode()
def test_a_quantized_text_encoder() -> None:
    config = UMT5Config(
        vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_heads=4, num_layers=2, quantization="int8",
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    theirs = QuantizedUMT5EncoderModel(config).eval()
    torch.manual_seed(0)
    for parameter in theirs.parameters():
        parameter.copy_(torch.randn(parameter.shape) * (30 if parameter.dtype == torch.int8 else 0.02))
    ours = UMT5Encoder(config.to_dict())
    ours.load_state_dict(theirs.state_dict())
    tokens = torch.arange(20)[None]
    assert torch.equal(ours(tokens).last_hidden_state, theirs(tokens).last_hidden_state)


@pytest.mark.parametrize(
    ("encoder", "option"),
    [
        (UMT5Encoder, {"feed_forward_proj": "relu"}),
        (CLIPVisionEncoder, {"hidden_act": "quick_gelu"}),
        (Wav2Vec2Encoder, {"do_stable_layer_norm": True}),
    ],
)
def test_a_configuration_of_another_model_is_refused(encoder: type[Encoder], option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(option))} must be"):
        encoder(option)
