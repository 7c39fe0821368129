"""Conversion of published tensors."""

from __future__ import annotations

import pytest
import torch

from multitalk.bake.convert import image_encoder_table
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.weights.renames import convert_transformer_tensor
from tests.small_checkpoint import Sizes, image_encoder_shapes, transformer_shapes


def test_wan_layers_get_the_names_of_diffusers_own_converter():
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    from tests.small_checkpoint import is_audio

    shapes = {key: shape for key, shape in transformer_shapes(Sizes()).items() if not is_audio(key)}
    expected = convert_wan_transformer_to_diffusers({key: key for key in shapes})
    for new_key, key in expected.items():
        tensor = torch.empty(shapes[key], device="meta")
        assert [name for name, _ in convert_transformer_tensor(key, tensor)] == [new_key]


def test_the_tables_make_every_tensor_of_the_model():
    sizes = Sizes()
    model = MultiTalkTransformer(
        num_attention_heads=sizes.heads,
        attention_head_dim=sizes.dim // sizes.heads,
        num_layers=sizes.layers,
        ffn_dim=sizes.ffn_dim,
    )
    made = [
        name
        for key, shape in transformer_shapes(sizes).items()
        for name, _ in convert_transformer_tensor(key, torch.empty(shape, device="meta"))
    ]
    assert sorted(made) == sorted(model.state_dict())


def test_keys_precede_values_in_the_audio_attention():
    weight = torch.arange(12.0).reshape(6, 2)
    key, value = convert_transformer_tensor("blocks.7.audio_cross_attn.kv_linear.weight", weight)
    assert (key[0], value[0]) == ("blocks.7.audio_attn.to_k.weight", "blocks.7.audio_attn.to_v.weight")
    assert torch.equal(key[1], weight[:3])
    assert torch.equal(value[1], weight[3:])


def test_unknown_names_are_refused():
    for key in ("blocks.0.norm9.weight", "vace_blocks.0.weight", "blocks.0.self_attn.q_norm.weight"):
        with pytest.raises(KeyError):
            convert_transformer_tensor(key, torch.empty(1))


def test_clip_loses_its_last_layer_and_its_text_encoder():
    sizes = Sizes()
    table = image_encoder_table(sizes.image_layers, sizes.image_dim)
    made = {
        name: tensor.shape
        for key, shape in image_encoder_shapes(sizes).items()
        for name, tensor in table.convert(key, torch.empty(shape))
    }
    assert {name.split(".")[2] for name in made if name.startswith("encoder.layers.")} == {"0", "1"}
    assert made["embeddings.class_embedding"] == (sizes.image_dim,)
    assert made["embeddings.position_embedding.weight"] == (257, sizes.image_dim)
    assert made["encoder.layers.0.self_attn.v_proj.bias"] == (sizes.image_dim,)
    assert not any("text" in name or "head" in name for name in made)
