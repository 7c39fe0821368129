"""Baking to int8 and fp8: stored tensors, published int8 values, and loading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from multitalk.bake import catalogue
from multitalk.bake.bake import bake
from multitalk.models.quantized import Fp8Linear, Int8Linear
from multitalk.models.quantized_umt5 import QuantizedUMT5EncoderModel
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.weights.manifest import Manifest
from multitalk.weights.store import WeightsFolder, load_part
from multitalk.weights.verify import verify

LAYERS = {"int8": Int8Linear, "fp8": Fp8Linear}


@pytest.fixture(scope="module")
def folders(published, tmp_path_factory) -> dict[str, Path]:
    """The small checkpoint in both precisions, and in int8 from the published int8 files."""
    root = tmp_path_factory.mktemp("quantized")
    for precision in LAYERS:
        bake(published, root / precision, precision=precision)
    bake(published, root / "kept", precision="int8", transformer_source="int8", text_encoder_source="int8")
    return {path.name: path for path in root.iterdir()}


@pytest.mark.parametrize("precision", LAYERS)
def test_only_the_layers_of_the_blocks_are_quantized(precision, folders):
    assert verify(folders[precision]) == []
    manifest = Manifest.read(folders[precision])
    assert manifest.precision == {
        "transformer": precision,
        "text_encoder": "int8",
        "image_encoder": "bf16",
        "vae": "float32",
        "audio_encoder": "float32",
    }
    dtypes = {name: info.dtype for name, info in manifest.tensors["transformer"].items()}
    eight_bits = {"int8": "I8", "fp8": "F8_E4M3"}[precision]
    layers = (
        "attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0",
        "attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0", "attn2.add_k_proj", "attn2.add_v_proj",
        "audio_attn.to_q", "audio_attn.to_k", "audio_attn.to_v", "audio_attn.to_out",
        "ffn.net.0.proj", "ffn.net.2",
    )  # fmt: skip
    for layer in (f"blocks.1.{name}" for name in layers):
        assert (dtypes[f"{layer}.weight"], dtypes[f"{layer}.scale"]) == (eight_bits, "F32")
        assert dtypes[f"{layer}.bias"] == "BF16"
    assert list(dtypes.values()).count(eight_bits) == 2 * len(layers)
    assert dtypes["proj_out.weight"] == dtypes["condition_embedder.text_embedder.linear_1.weight"] == "BF16"
    assert dtypes["audio_projection.proj_first.weight"] == "BF16"
    assert dtypes["condition_embedder.time_proj.weight"] == dtypes["blocks.0.norm2.weight"] == "F32"
    text = {name: info.dtype for name, info in manifest.tensors["text_encoder"].items()}
    assert text["encoder.block.0.layer.1.DenseReluDense.wo.weight"] == "I8"
    assert text["shared.weight"] == "BF16"
    config = json.loads((folders[precision] / "transformer" / "config.json").read_text())
    assert config["quantization"] == precision


@pytest.mark.parametrize("precision", LAYERS)
def test_weights_are_within_half_a_step(precision, folders, baked):
    exact = load_part(WeightsFolder(baked), "transformer", "cpu", torch.float32)
    model = load_part(WeightsFolder(folders[precision]), "transformer", "cpu", torch.float32)
    count = 0
    for name, layer in model.named_modules():
        if isinstance(layer, LAYERS[precision]):
            weight = exact.get_submodule(name).weight
            error = (layer.dequantize() - weight).abs()
            if precision == "int8":
                assert (error <= 0.501 * layer.scale).all()
            else:  # half of the last of four significant bits, or of the smallest step near zero
                assert (error <= weight.abs() / 16 * 1.001 + layer.scale * 2**-10).all()
            count += 1
    assert count == 32


def test_published_int8_values_and_scales_are_kept(published, folders):
    for part, file, names in (
        (
            "transformer",
            catalogue.TRANSFORMER_INT8,
            {
                "blocks.1.self_attn.q": ("blocks.1.attn1.to_q",),
                "blocks.0.cross_attn.v_img": ("blocks.0.attn2.add_v_proj",),
                "blocks.1.audio_cross_attn.kv_linear": (
                    "blocks.1.audio_attn.to_k",
                    "blocks.1.audio_attn.to_v",
                ),
            },
        ),
        (
            "text_encoder",
            catalogue.TEXT_ENCODER_INT8,
            {"blocks.1.ffn.fc2": ("encoder.block.1.layer.1.DenseReluDense.wo",)},
        ),
    ):
        stored = load_file(published / file)
        baked = WeightsFolder(folders["kept"]).tensors(part)
        for key, layers in names.items():
            values = torch.cat([baked.get(f"{layer}.weight") for layer in layers])
            factors = torch.cat([baked.get(f"{layer}.scale") for layer in layers])
            assert torch.equal(values, stored[f"{key}.weight._data"])
            assert torch.equal(factors, stored[f"{key}.weight._scale"].float())
    # outside the blocks, int8 is dequantized
    stored = load_file(published / catalogue.TRANSFORMER_INT8)
    expected = (
        stored["head.head.weight._data"].float() * stored["head.head.weight._scale"].float()
    ).bfloat16()
    assert torch.equal(WeightsFolder(folders["kept"]).tensors("transformer").get("proj_out.weight"), expected)


def test_a_lora_is_merged_before_quantizing(published, folders, tmp_path):
    bake(published, tmp_path / "exact", precision="float32", loras=[("fusionx", 1.0)])
    for source in ("published", "int8"):
        target = tmp_path / source
        bake(published, target, precision="int8", loras=[("fusionx", 1.0)], transformer_source=source)
        exact = load_part(WeightsFolder(tmp_path / "exact"), "transformer", "cpu", torch.float32)
        layer = load_part(WeightsFolder(target), "transformer", "cpu", torch.float32).blocks[0].attn1.to_q
        error = (layer.dequantize() - exact.blocks[0].attn1.to_q.weight).abs()
        assert (error <= (0.501 if source == "published" else 1.8) * layer.scale).all()


@pytest.mark.parametrize("precision", LAYERS)
@pytest.mark.parametrize("part", ["transformer", "text_encoder"])
def test_from_pretrained_loads_the_same_tensors(part, precision, folders):
    folder = WeightsFolder(folders[precision])
    library = MultiTalkTransformer if part == "transformer" else QuantizedUMT5EncoderModel
    theirs = library.from_pretrained(folder.part(part))
    ours = load_part(folder, part, "cpu", torch.float32).state_dict()
    assert ours.keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor.float(), ours[name].float()), name


@pytest.mark.parametrize("precision", LAYERS)
def test_fp8_cast_by_diffusers_gives_the_same_results(precision, folders):
    """diffusers casts fp8 weights to the requested dtype, but not int8 weights and scales."""
    folder = WeightsFolder(folders[precision])
    theirs = MultiTalkTransformer.from_pretrained(folder.part("transformer"), torch_dtype=torch.bfloat16)
    layer = theirs.blocks[1].ffn.net[2]
    ours = load_part(folder, "transformer", "cpu", torch.bfloat16).blocks[1].ffn.net[2]
    values = torch.randn(3, layer.in_features).bfloat16()
    assert layer.scale.dtype == torch.float32
    for _ in range(2):  # the first call does not change the weights
        assert torch.equal(layer(values), ours(values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_dtype_of_unquantized_tensors_is_as_requested(dtype, folders):
    model = load_part(WeightsFolder(folders["fp8"]), "transformer", "cpu", dtype)
    layer = model.blocks[0].ffn.net[2]
    assert (layer.weight.dtype, layer.scale.dtype) == (torch.float8_e4m3fn, torch.float32)
    assert layer.bias.dtype == model.compute_dtype == dtype
    assert model.blocks[0].norm2.weight.dtype == torch.float32
    encoder = load_part(WeightsFolder(folders["fp8"]), "text_encoder", "cpu", dtype)
    assert encoder.encoder.block[0].layer[0].SelfAttention.q.scale.dtype == torch.float32
    assert encoder(input_ids=torch.tensor([[1, 2, 3]])).last_hidden_state.dtype == dtype


@pytest.mark.parametrize(
    ("part", "precision"), [("transformer", "int8"), ("transformer", "fp8"), ("text_encoder", "int8")]
)
def test_an_unquantized_folder_is_quantized_during_loading(part, precision, baked, folders):
    loaded = load_part(WeightsFolder(baked), part, "cpu", torch.bfloat16, quantization=precision)
    layer = next(layer for layer in loaded.modules() if isinstance(layer, LAYERS[precision]))
    assert layer.weight.dtype == LAYERS[precision].weight_dtype
    expected = load_part(WeightsFolder(folders[precision]), part, "cpu", torch.bfloat16).state_dict()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor.float(), expected[name].float()), name
    # layers that are stored quantized stay as they are
    kept = load_part(WeightsFolder(folders["int8"]), part, "cpu", torch.bfloat16, quantization=precision)
    assert any(isinstance(layer, Int8Linear) for layer in kept.modules())
    assert not any(isinstance(layer, Fp8Linear) for layer in kept.modules())
