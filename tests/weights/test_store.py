"""Loading the parts of a weights folder."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer

from multitalk.errors import WeightsError
from multitalk.weights.manifest import PARTS
from multitalk.weights.store import (
    WeightsFolder,
    load_audio_encoder,
    load_part,
    load_text_encoder,
    load_tokenizer,
)
from tests.small_checkpoint import Sizes


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_ready_for_inference(part, baked):
    model = load_part(WeightsFolder(baked), part, "cpu", torch.float32)
    assert not model.training
    tensors = [*model.parameters(), *model.buffers()]
    assert all(tensor.device.type == "cpu" for tensor in tensors)
    assert not any(tensor.requires_grad for tensor in tensors)


def test_dtype_is_as_requested_except_for_kept_modules(baked, baked_bf16):
    for folder in (WeightsFolder(baked), WeightsFolder(baked_bf16)):
        half = load_part(folder, "transformer", "cpu", torch.bfloat16)
        assert half.blocks[0].attn1.to_q.weight.dtype == torch.bfloat16
        assert half.blocks[0].norm_audio.weight.dtype == torch.float32
        full = load_part(folder, "transformer", "cpu", torch.float32)
        assert {parameter.dtype for parameter in full.parameters()} == {torch.float32}
    # UMT5's last layers stay in float32 only in float16
    for dtype, kept in ((torch.float16, torch.float32), (torch.bfloat16, torch.bfloat16)):
        text_encoder = load_part(WeightsFolder(baked), "text_encoder", "cpu", dtype)
        assert text_encoder.encoder.block[0].layer[1].DenseReluDense.wo.weight.dtype == kept


def test_loading_does_not_change_the_file(baked):
    model = load_part(WeightsFolder(baked), "transformer", "cpu", torch.float32)
    model.blocks[0].attn1.to_q.weight.zero_()
    again = load_part(WeightsFolder(baked), "transformer", "cpu", torch.float32)
    assert again.blocks[0].attn1.to_q.weight.abs().sum() > 0


def test_encoders_and_tokenizer_are_loaded(baked):
    folder = WeightsFolder(baked)
    text_encoder, tokenizer = load_text_encoder(folder, "cpu", torch.float32)
    ids = tokenizer.encode("a man speaks").ids
    assert ids[-1] == 1
    output = text_encoder(torch.tensor([ids])).last_hidden_state
    assert output.shape == (1, len(ids), Sizes().text_dim)
    assert text_encoder.encoder.embed_tokens.weight is text_encoder.shared.weight
    audio_encoder = load_audio_encoder(folder, "cpu")
    assert len(audio_encoder(torch.randn(1, 16000)).hidden_states) == Sizes().audio_layers + 1


def test_the_tokenizer_is_the_one_that_transformers_loads(baked):
    folder = WeightsFolder(baked).part("tokenizer")
    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    for text in ("", "a man speaks", "Ein Mann, der spricht.  Zwei\nZeilen", "</s> <unk> Привет 你好"):
        for length in (3, 512):
            ours.enable_truncation(length)
            assert ours.encode(text).ids == theirs(text, truncation=True, max_length=length).input_ids


def test_a_damaged_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"tokenizer\.json is not valid"):
        load_tokenizer(tmp_path)


def test_a_config_of_another_model_is_refused(baked, copy_of):
    folder = copy_of(baked)
    config = folder / "transformer" / "config.json"
    config.write_text(config.read_text().replace('"ffn_dim": 80', '"ffn_dim": 96'))
    with pytest.raises(WeightsError, match="do not match the model"):
        load_part(WeightsFolder(folder), "transformer", "cpu", torch.float32)
    config.write_text(config.read_text().replace('"num_layers": 2', '"num_layers": 3'))
    with pytest.raises(WeightsError, match="do not match the model"):
        load_part(WeightsFolder(folder), "transformer", "cpu", torch.float32)
