"""float16 with weights that exceed its range, compared with float32."""

from __future__ import annotations

import pytest
import torch
from transformers import UMT5Config

from multitalk.models.half import project_to_residual
from multitalk.models.linear import LoraLinear
from multitalk.models.quantized import Int8Linear, set_matmuls
from multitalk.models.text_encoder import UMT5Encoder
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.weights.libraries import kept_in_float32

LARGEST = torch.finfo(torch.float16).max  # 65504
DIM = 48


def make_transformer(scale: float) -> MultiTalkTransformer:
    """Create a small transformer whose layers add values of about this size to the residual stream."""
    torch.manual_seed(0)
    transformer = MultiTalkTransformer(
        num_attention_heads=2, attention_head_dim=24, text_dim=8, text_len=4, freq_dim=8, ffn_dim=64,
        num_layers=2, image_dim=8, audio_layers=1, audio_channels=4, audio_hidden_dim=8, audio_tokens=2,
        audio_dim=8,
    ).requires_grad_(False).eval()  # fmt: skip
    for parameter in transformer.parameters():
        if parameter.ndim == 2 and min(parameter.shape) > 1:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    for block in transformer.blocks:
        for layer in (
            block.ffn.net[-1],
            block.attn1.to_out[0],
            block.attn2.to_out[0],
            block.audio_attn.to_out,
        ):
            layer.weight.mul_(scale)
            layer.bias.fill_(scale / 10)
        block.scale_shift_table[:, [2, 5]] = 1.0  # the gates
    return transformer


def to_float16(model: torch.nn.Module) -> torch.nn.Module:
    """Convert a model like the weights loader, which keeps some parameters in float32."""
    for name, parameter in model.named_parameters():
        if not kept_in_float32(model, name, torch.float16):
            parameter.data = parameter.data.half()
    return model


def run(transformer: MultiTalkTransformer, dtype: torch.dtype, people: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    tokens = random(1, 36, 3, 4, 4)
    conditions = [
        part.to(dtype) for part in (random(1, 4, DIM), random(1, 5, DIM), random(1, 3, 2 * people, 8))
    ]
    masks = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).float() if people == 2 else None
    return transformer(tokens, torch.tensor([500.0]), *conditions, person_masks=masks).float()


@pytest.mark.parametrize("people", [1, 2])
@torch.inference_mode()
def test_a_transformer_that_would_overflow(people: int) -> None:
    scale = 3e4
    stream: list[torch.Tensor] = []
    expected_model, model = make_transformer(scale), to_float16(make_transformer(scale))
    hook = expected_model.blocks[-1].register_forward_hook(lambda *call: stream.append(call[2]))
    expected = run(expected_model, torch.float32, people)
    hook.remove()
    assert stream[0].abs().max() > 2 * LARGEST, "the residual stream leaves float16's range"
    # so do the outputs that are added to it: the plain layer gives infinities
    last = model.blocks[0].ffn.net[-1]
    hidden = 3 * torch.ones(1, 1, 64, dtype=torch.float16)
    hidden = torch.where(last.weight.sum(0) >= 0, hidden, -hidden)
    assert last(hidden).isinf().any()
    got = run(model, torch.float16, people)
    assert model.blocks[0].ffn.net[0].proj.weight.dtype == torch.float16
    assert got.isfinite().all()
    assert (got - expected).norm() < 0.01 * expected.norm()


@torch.inference_mode()
def test_small_values_keep_their_precision() -> None:
    expected = run(make_transformer(1.0), torch.float32, 2)
    got = run(to_float16(make_transformer(1.0)), torch.float16, 2)
    assert (got - expected).norm() < 0.005 * expected.norm()


@pytest.mark.parametrize("kind", ["plain", "lora", "int8"])
@torch.inference_mode()
def test_every_kind_of_layer_exceeds_the_range(kind: str) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(32, 16)
    plain.weight.mul_(1e5)
    plain.bias.fill_(1000.0)
    layer = plain if kind == "plain" else LoraLinear.from_linear(plain)
    if kind == "int8":
        layer = Int8Linear.from_linear(plain)
        set_matmuls(layer, torch.device("cpu"), "dequantize")
    x = torch.randn(5, 32)
    expected = plain(x)
    if kind == "lora":
        down, up = torch.randn(2, 32), 1e4 * torch.randn(16, 2)
        layer.set_low_rank(down.half(), up.half())
        expected = expected + x @ down.T @ up.T
    assert expected.abs().max() > LARGEST
    for name, parameter in layer.named_parameters():
        if name == "bias" or kind != "int8":
            parameter.data = parameter.data.half()
    got = project_to_residual(layer, x.half())
    assert got.dtype == torch.float32
    assert (got - expected).norm() < 0.01 * expected.norm()


def test_other_dtypes_are_unchanged() -> None:
    layer, x = torch.nn.Linear(8, 8), torch.randn(3, 8)
    for dtype in (torch.float32, torch.bfloat16):
        layer.to(dtype)
        assert torch.equal(project_to_residual(layer, x.to(dtype)), layer(x.to(dtype)))


@torch.inference_mode()
def test_a_text_encoder_that_would_overflow() -> None:
    config = UMT5Config(
        vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
    )

    def make() -> UMT5Encoder:
        torch.manual_seed(0)
        encoder = UMT5Encoder(config.to_dict())
        for block in encoder.encoder.block:
            network = block.layer[1].DenseReluDense
            for layer in (network.wi_0, network.wi_1):
                torch.nn.init.normal_(
                    layer.weight, std=120.0
                )  # hidden halves of 700: their product overflows
            torch.nn.init.normal_(network.wo.weight, std=0.1)
        return encoder

    ids = torch.arange(1, 13)[None]
    expected = make()(ids).last_hidden_state
    half = to_float16(make())
    network = half.encoder.block[0].layer[1].DenseReluDense
    assert network.wo.weight.dtype == torch.float32
    normed = half.encoder.block[0].layer[1].layer_norm(half.shared(ids))
    product = network.wi_0(normed) * network.wi_1(normed)
    assert not product.isfinite().all(), "the product overflows in float16"
    got = half(ids).last_hidden_state
    assert got.dtype == torch.float16
    assert (got.float() - expected).norm() < 0.01 * expected.norm()
