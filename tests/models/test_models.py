"""Parts of the transformer against their definitions in docs/MODEL.md, section 3."""

from __future__ import annotations

import pytest
import torch
from diffusers.hooks._helpers import TransformerBlockRegistry
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

from multitalk.models.attention import SelfAttentionProcessor
from multitalk.models.audio_attention import AudioCrossAttention, video_labels
from multitalk.models.audio_projection import AudioProjection
from multitalk.models.rotary import VideoRotaryEmbedding, apply_rotary, label_rotary_table, rotate_by_label
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.models.transformer_block import MultiTalkTransformerBlock
from multitalk.patches.torch import use_onednn
from tests.numbers import assert_close


def small_transformer(**overrides) -> MultiTalkTransformer:
    torch.manual_seed(0)
    sizes = {
        "num_attention_heads": 4, "attention_head_dim": 24, "text_dim": 32, "freq_dim": 32, "ffn_dim": 64,
        "num_layers": 2, "image_dim": 16, "text_len": 24, "audio_layers": 3, "audio_channels": 8,
        "audio_hidden_dim": 16, "audio_tokens": 4, "audio_dim": 12,
    }  # fmt: skip
    return MultiTalkTransformer(**{**sizes, **overrides}).eval()


def conditions(transformer: MultiTalkTransformer, people: int, frames: int = 9) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    audio = torch.randn(people, frames, 5, 3, 8, generator=generator)
    return (
        transformer.project_text(torch.randn(1, 7, 32, generator=generator)),
        transformer.project_image(torch.randn(1, 257, 16, generator=generator)),
        transformer.project_audio(audio),
    )


def test_rotary_table_equals_diffusers():
    ours, theirs = VideoRotaryEmbedding(24, (1, 2, 2)), WanRotaryPosEmbed(24, (1, 2, 2), 1024)
    latents = torch.zeros(1, 16, 5, 8, 12)
    cosines, sines = theirs(latents)
    expected = (cosines[..., 0::2], sines[..., 1::2])
    for value, reference in zip(ours(latents), expected, strict=True):
        assert_close(value, reference, 1)
    assert ours(latents)[0] is ours(latents)[0], "the table is cached per shape"
    assert ours.bfloat16()(latents)[0].dtype == torch.float32


def test_rotation_turns_interleaved_pairs():
    table = label_rotary_table(torch.tensor([3.0]), 4)
    rotated = apply_rotary(
        torch.tensor([1.0, 0.0, 0.0, 1.0]).view(1, 1, 1, 4), (table[0][None], table[1][None])
    )
    first, second = torch.tensor(3.0), torch.tensor(3.0 / 100)
    expected = torch.stack((first.cos(), first.sin(), -second.sin(), second.cos()))
    torch.testing.assert_close(rotated.flatten(), expected)


def test_reference_map_is_the_softmax_over_the_first_frame():
    query, key = (torch.randn(1, 12, 4, 16) for _ in range(2))
    masks = torch.zeros(3, 4)
    masks[0, 0] = masks[1, 1:3] = masks[2, 3] = 1
    ours = SelfAttentionProcessor().reference_map(query, key, masks)
    weights = torch.einsum("bqhd,bkhd->bhqk", query, key[:, :4]).div(4).softmax(-1).mean(1)  # B N S
    expected = torch.stack([(weights * mask).sum(-1) / mask.sum() for mask in masks], dim=1)
    torch.testing.assert_close(ours, expected)


def test_a_person_with_an_empty_mask_gets_no_tokens():
    masks = torch.zeros(3, 4)
    masks[0, :2] = masks[2, 2:] = 1
    query = torch.randn(1, 8, 2, 16)
    reference_map = SelfAttentionProcessor().reference_map(query, query, masks)
    assert reference_map.isfinite().all()
    assert not ((video_labels(reference_map) >= 20) & (video_labels(reference_map) <= 24)).any()


def test_labels():
    reference_map = torch.tensor([[[0.1, 0.9, 0.5, 0.2], [0.2, 0.1, 0.8, 0.1], [0.0, 0.0, 0.1, 0.7]]])
    labels = video_labels(reference_map)[0]
    assert labels[0].item() == pytest.approx(20 + 4 * (0.2 - 0.1) / 0.7)
    assert labels[1].item() == pytest.approx(4)
    assert labels[2].item() == pytest.approx(24)
    assert labels[3].item() == 12


def test_labels_of_four_people():
    """Each person's range is 20 after the one before; the background stays at 12."""
    reference_map = torch.eye(5)[None] + torch.linspace(0, 0.1, 5)
    assert video_labels(reference_map)[0].tolist() == pytest.approx([4, 24, 44, 64, 12], abs=1e-5)


@pytest.mark.parametrize("people", [2, 3, 4])
def test_audio_tokens_are_in_the_middle_of_each_persons_labels(people):
    attention = AudioCrossAttention(dim=32, heads=2, audio_dim=8)
    tokens, labels = torch.randn(1, 2 * 5, 32), torch.rand(1, 2 * 5) * 60
    audio = torch.randn(1, 2, people * 3, 8)  # 2 latent frames, 3 tokens a person
    query = rotate_by_label(attention.to_q(tokens).unflatten(-1, (2, 16)), labels)
    middles = torch.tensor([2.0, 22.0, 42.0, 62.0][:people]).repeat_interleave(3)
    expected = []
    for frame in range(2):
        key = rotate_by_label(attention.to_k(audio[:, frame]).unflatten(-1, (2, 16)), middles)
        value = attention.to_v(audio[:, frame]).unflatten(-1, (2, 16))
        part = query[:, 5 * frame : 5 * frame + 5]
        weights = torch.einsum("bqhd,bkhd->bhqk", part, key).div(4).softmax(-1)
        expected.append(torch.einsum("bhqk,bkhd->bqhd", weights, value).flatten(2))
    result = attention(tokens, audio, labels, people)
    torch.testing.assert_close(result, attention.to_out(torch.cat(expected, dim=1)))


def test_audio_windows_of_a_later_latent_frame():
    """Positions 0..2 of the first frame, the center of the two in the middle, 2..4 of the last frame."""
    projection = AudioProjection(window=5, layers=1, channels=1, hidden_dim=8, tokens=1, dim=8)
    seen = {}
    projection.proj_later.register_forward_hook(lambda module, inputs, output: seen.update(later=inputs[0]))
    audio = torch.arange(9)[:, None] * 10 + torch.arange(5)  # frame f, position p -> 10 f + p
    tokens = projection(audio.float().view(1, 9, 5, 1, 1))
    assert tokens.shape == (3, 1, 8)
    assert seen["later"][0].tolist() == [[10, 11, 12, 22, 32, 42, 43, 44], [50, 51, 52, 62, 72, 82, 83, 84]]


def test_one_person_needs_no_reference_map(monkeypatch):
    transformer = small_transformer()
    latents, timestep = torch.randn(1, 36, 3, 4, 8), torch.tensor([500.0])
    maps = 0
    original = SelfAttentionProcessor.reference_map

    def counted(*args):
        nonlocal maps
        maps += 1
        return original(*args)

    monkeypatch.setattr(SelfAttentionProcessor, "reference_map", counted)
    with torch.inference_mode():
        transformer(latents, timestep, *conditions(transformer, 1))
        assert maps == 0
        transformer(latents, timestep, *conditions(transformer, 2), person_masks=torch.ones(3, 8))
    assert maps == len(transformer.blocks)


def test_a_batch_of_timesteps_equals_separate_calls():
    transformer = small_transformer()
    latents, timesteps = torch.randn(2, 36, 3, 4, 8), torch.tensor([500.0, 20.0])
    shared = conditions(transformer, 1)
    with torch.inference_mode():
        single = [transformer(latents[i : i + 1], timesteps[i : i + 1], *shared) for i in range(2)]
        batched = transformer(latents, timesteps, shared[0], shared[1], shared[2].expand(2, -1, -1, -1))
    torch.testing.assert_close(batched, torch.cat(single), rtol=1e-4, atol=1e-5)


def test_a_block_residual_replaces_the_blocks():
    transformer = small_transformer()
    latents, timestep = torch.randn(1, 36, 3, 4, 8), torch.tensor([500.0])
    shared = conditions(transformer, 1)
    with torch.inference_mode():
        full, residual = transformer(latents, timestep, *shared, return_block_residual=True)
        transformer.blocks = None  # any use would fail
        again = transformer(latents, timestep, *shared, block_residual=residual)
    torch.testing.assert_close(again, full, rtol=1e-5, atol=1e-5)


def test_the_block_is_registered_with_diffusers():
    assert TransformerBlockRegistry.get(MultiTalkTransformerBlock).return_hidden_states_index == 0


def test_config_round_trip(tmp_path):
    transformer = small_transformer()
    transformer.save_pretrained(tmp_path)
    again = MultiTalkTransformer.from_pretrained(tmp_path)
    assert dict(again.config).items() >= {"audio_tokens": 4, "num_layers": 2, "text_len": 24}.items()
    for name, parameter in transformer.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))


@pytest.mark.parametrize(("stride", "padding", "kernel"), [(1, 0, 3), (2, 0, (3, 1, 1)), (1, 1, 1)])
def test_onednn_convolutions_give_the_same_results(stride, padding, kernel):
    torch.manual_seed(0)
    layer = torch.nn.Conv3d(6, 8, kernel, stride=(stride, 1, 1), padding=padding)
    hidden_states = torch.randn(1, 6, 5, 12, 12)
    with torch.inference_mode():
        expected = layer(hidden_states)
        use_onednn(layer)
        torch.testing.assert_close(layer(hidden_states), expected, rtol=1e-5, atol=1e-6)
