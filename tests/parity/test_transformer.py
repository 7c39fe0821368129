"""The transformer against the published reference: people, null audio, LoRA merges, the int8 file."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from multitalk import MultiTalkPipeline
from multitalk.bake.bake import bake
from multitalk.conditioning.people import token_masks
from multitalk.models import matmul_choice
from multitalk.models.quantized import QuantizedLinear
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.weights.store import WeightsFolder, load_part
from tests.numbers import make_int8_product_exact

BOUND = 3e-6


def predict(
    transformer: MultiTalkTransformer,
    case: SimpleNamespace,
    timestep: float,
    audio: torch.Tensor | None = None,
) -> torch.Tensor:
    tensors = case.tensors
    audio = tensors["audio"] if audio is None else audio
    masks = token_masks(tensors["masks"]) if audio.shape[0] > 1 else None
    with torch.inference_mode():
        return transformer(
            torch.cat((tensors["x"][None], tensors["y"]), dim=1),
            torch.tensor([timestep]),
            transformer.project_text(tensors["context"][None]),
            transformer.project_image(tensors["clip_fea"]),
            transformer.project_audio(audio),
            person_masks=masks,
        )[0]


@pytest.mark.parametrize("people", ["single", "multi"])
def test_prediction(people, load_case, pipeline, relative_error):
    case, transformer = load_case(f"dit_{people}"), pipeline.components.transformer
    for timestep in case.info["timesteps"]:
        assert relative_error(predict(transformer, case, timestep), case.tensors[f"out_{timestep}"]) < BOUND
    silence = torch.zeros_like(case.tensors["audio"][:1])
    silent = predict(transformer, case, 437.5, silence)
    assert relative_error(silent, case.tensors["out_437.5_null_audio"]) < BOUND


@pytest.mark.parametrize(
    ("lora", "scale", "expected"),
    [("fusionx", 1.0, "out_fusionx_1.0"), ("lightx2v", 1.2, "out_lightx2v_1.2"), (None, 1.0, "out_base")],
)
def test_lora_merged_at_bake_and_switched_at_run_time(
    lora, scale, expected, load_case, weights, pipeline, relative_error, tmp_path
):
    case = load_case("dit_lora_int8")
    loras = [(lora, scale)] if lora else []
    bake(weights, tmp_path / "merged", precision="float32", loras=loras)
    merged = MultiTalkPipeline.from_pretrained(tmp_path / "merged", device="cpu", dtype=torch.float32)
    assert relative_error(predict(merged.components.transformer, case, 437.5), case.tensors[expected]) < BOUND

    files = {
        "fusionx": "Wan2.1_I2V_14B_FusionX_LoRA",
        "lightx2v": "Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32",
    }
    pipeline.executor.loras.activate([(weights / f"{files[lora]}.safetensors", scale)] if lora else [])
    switched = predict(pipeline.components.transformer, case, 437.5)
    pipeline.executor.loras.activate([])
    assert relative_error(switched, case.tensors[expected]) < BOUND


def test_the_published_int8_file_in_float32(load_case, weights, relative_error, tmp_path):
    case = load_case("dit_lora_int8")
    bake(weights, tmp_path / "int8", precision="float32", transformer_source="int8")
    pipeline = MultiTalkPipeline.from_pretrained(tmp_path / "int8", device="cpu", dtype=torch.float32)
    ours = predict(pipeline.components.transformer, case, 437.5)
    assert relative_error(ours, case.tensors["out_int8_dequantised"]) < BOUND


def test_the_published_int8_values_kept_as_they_are(load_case, weights, relative_error, tmp_path):
    """Inside the blocks nothing is rounded again; outside, int8 is put into bfloat16, here into float32."""
    case = load_case("dit_lora_int8")
    bake(weights, tmp_path / "int8", precision="int8", transformer_source="int8")
    bake(weights, tmp_path / "wide", precision="float32", transformer_source="int8")
    kept = load_part(WeightsFolder(tmp_path / "int8"), "transformer", "cpu", torch.float32)
    wide = load_part(WeightsFolder(tmp_path / "wide"), "transformer", "cpu", torch.float32)
    outside = {name: value for name, value in wide.state_dict().items() if not name.startswith("blocks.")}
    kept.load_state_dict(outside, strict=False)
    assert relative_error(predict(kept, case, 437.5), case.tensors["out_int8_dequantised"]) < BOUND


@pytest.fixture(scope="module")
def bf16_transformer(weights, tmp_path_factory) -> MultiTalkTransformer:
    target = tmp_path_factory.mktemp("parity") / "bf16"
    bake(weights, target, precision="bf16")
    return MultiTalkPipeline.from_pretrained(
        target, device="cpu", dtype=torch.bfloat16
    ).components.transformer


@pytest.mark.parametrize(("people", "bound"), [("single", 0.015), ("multi", 0.07)])
def test_bf16_stays_near_float32(people, bound, load_case, bf16_transformer, relative_error):
    """Rounding to 8 bits at every layer; with two people, a token between them may change sides as well."""
    case = load_case(f"dit_{people}")
    for timestep in case.info["timesteps"]:
        error = relative_error(predict(bf16_transformer, case, timestep), case.tensors[f"out_{timestep}"])
        assert error < bound


@pytest.mark.parametrize(("people", "share"), [("single", 1.0), ("multi", 3.0)])
@pytest.mark.parametrize(
    ("precision", "matmul", "bound"),
    [("int8", None, 0.02), ("int8", "int8", 0.025), ("fp8", None, 0.06), ("fp8", "fp8", 0.07)],
)
def test_8_bits_stay_near_float32(
    precision, matmul, bound, people, share, load_case, baked, relative_error, monkeypatch
):
    """Weights in 8 bits, and the video's tokens as well; two people as above."""
    make_int8_product_exact(monkeypatch)
    if matmul is not None and not matmul_choice._works(matmul, torch.device("cpu")):
        pytest.skip(f"this torch doesn't multiply {matmul} on a CPU")
    transformer = load_part(WeightsFolder(baked), "transformer", "cpu", torch.float32, precision)
    case = load_case(f"dit_{people}")
    for layer in transformer.modules():
        if isinstance(layer, QuantizedLinear):
            layer.matmul, layer.minimal_rows = matmul, case.tensors["x"][0, :, ::2, ::2].numel()
    for timestep in case.info["timesteps"]:
        error = relative_error(predict(transformer, case, timestep), case.tensors[f"out_{timestep}"])
        assert bound / 10 < error < bound * share
