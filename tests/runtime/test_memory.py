"""The memory model and operation counts against the real networks at real shapes, on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from torch.utils.flop_counter import FlopCounterMode

from multitalk.models import attention, audio_attention, vae_stages, video_vae
from multitalk.models.fast_decoder import FastDecoder
from multitalk.models.quantized import QuantizedLinear
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.models.vae_layers import use_fast_layers
from multitalk.runtime.choose import Weights, _layout
from multitalk.runtime.memory import (
    DECODE_UNITS,
    ENCODE_UNITS,
    FAST_DECODE_UNITS,
    FAST_PARAMETERS,
    HALF_DECODE_UNITS,
    MemoryLayout,
    Workload,
)
from multitalk.runtime.operations import (
    DECODE_OPERATIONS,
    ENCODE_OPERATIONS,
    call_operations,
    decoder_operations,
    preview_operations,
)
from multitalk.runtime.settings import PlanSettings
from multitalk.runtime.sizes import PUBLISHED, ModelSizes
from multitalk.weights.folders import EMBEDDED_FOLDER
from multitalk.weights.libraries import kept_in_float32, quantized_weights
from multitalk.weights.offloaded import OffloadedBlocks
from multitalk.weights.store import WeightsFolder

from .live_bytes import LiveBytes

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def make_transformer(dtype: torch.dtype, layers: int = 2) -> MultiTalkTransformer:
    with torch.device("meta"):
        transformer = MultiTalkTransformer(num_layers=layers)
    for name, parameter in transformer.named_parameters():
        parameter.data = parameter.data.to(
            torch.float32 if kept_in_float32(transformer, name, dtype) else dtype
        )
    return transformer.requires_grad_(False)


def inputs(workload: Workload, dtype: torch.dtype) -> list[torch.Tensor]:
    kind = {"device": "meta", "dtype": dtype}
    return [
        torch.empty(1, 36, workload.latent_frames, workload.height // 8, workload.width // 8, device="meta"),
        torch.empty(1, device="meta"),
        torch.empty(1, 512, 5120, **kind),
        torch.empty(1, 257, 5120, **kind),
        torch.empty(1, workload.latent_frames, 32 * workload.people, 768, **kind),
    ]


def masks(workload: Workload) -> torch.Tensor | None:
    return torch.empty(3, workload.tokens_per_frame, device="meta") if workload.people > 1 else None


@pytest.fixture
def attention_without_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the whole matrix of scores, which GPU kernels do not allocate."""

    def attend(query: torch.Tensor, key: Any, value: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return query.new_empty(*query.shape[:-1], value.shape[-1])

    monkeypatch.setattr(attention, "attend", attend)
    monkeypatch.setattr(audio_attention, "attend", attend)
    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)


def layout_of(precision: str) -> MemoryLayout:
    return _layout(Weights(PUBLISHED, precision, precision), DTYPES[precision], Workload(), PlanSettings())


def test_parameters_are_counted_exactly() -> None:
    transformer = make_transformer(torch.float32, layers=40)
    assert sum(p.numel() for p in transformer.parameters()) == PUBLISHED.transformer_parameters
    block = PUBLISHED.block_matrices + PUBLISHED.block_vectors
    assert sum(p.numel() for p in transformer.blocks[0].parameters()) == block
    with torch.device("meta"):
        vae = AutoencoderKLWan()
    assert sum(p.numel() for p in vae.parameters()) == pytest.approx(PUBLISHED.vae_parameters, rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_bytes_of_the_weights(precision: str) -> None:
    transformer = make_transformer(DTYPES[precision], layers=40)
    counted = sum(p.nbytes for p in transformer.parameters())
    assert counted <= layout_of(precision).part_bytes("transformer") <= counted * 1.001


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8", "fp8"])
def test_host_memory_of_a_streamed_block(precision: str) -> None:
    """Its tensors, each aligned, are not more than the plan counts."""
    quantization = precision if precision in ("int8", "fp8") else None
    with torch.device("meta"):
        transformer = MultiTalkTransformer(num_layers=1, quantization=quantization)
    dtype = DTYPES.get(precision, torch.bfloat16)
    size = OffloadedBlocks(transformer, 1, dtype_in(transformer, dtype)).memory[0].bytes.numel()
    planned = PUBLISHED.block_bytes(precision)
    assert size <= planned <= size * 1.002


def dtype_in(transformer: MultiTalkTransformer, dtype: torch.dtype) -> Callable[[str], torch.dtype | None]:
    """As in loading: 8-bit matrices keep their dtype."""
    quantized = quantized_weights(transformer)
    return lambda name: (
        None if name in quantized else torch.float32 if kept_in_float32(transformer, name, dtype) else dtype
    )


def test_sizes_of_a_folder() -> None:
    folder = WeightsFolder(EMBEDDED_FOLDER)
    sizes = ModelSizes.of(folder)
    stored = folder.manifest.tensors
    for part, counted in (
        ("transformer", sizes.transformer_parameters),
        ("text_encoder", sizes.text_matrices + sizes.text_embedding),
        ("vae", sizes.vae_parameters),
    ):
        assert counted == sum(torch.Size(info.shape).numel() for info in stored[part].values()), part


@pytest.mark.usefixtures("attention_without_scores")
@pytest.mark.parametrize("people", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(480, 832), (720, 1280)])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_peak_of_a_model_call(precision: str, height: int, width: int, people: int) -> None:
    workload = Workload(height=height, width=width, people=people)
    transformer = make_transformer(DTYPES[precision])
    arguments = inputs(workload, DTYPES[precision])
    for keeps in (False, True):
        with torch.inference_mode(), LiveBytes() as live:
            transformer(*arguments, person_masks=masks(workload), return_block_residual=keeps)
        expected = layout_of(precision).block_work(replace(workload, keeps_residuals=keeps, branches=0))
        assert live.peak <= expected <= 1.1 * live.peak, keeps


@pytest.mark.usefixtures("attention_without_scores")
@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_peak_of_a_quantized_model_call(precision: str, products: bool) -> None:
    workload = Workload(height=720, width=1280)
    with torch.device("meta"):
        transformer = MultiTalkTransformer(num_layers=2, quantization=precision)
    for name, parameter in transformer.named_parameters():
        if parameter.dtype == torch.float32 and not kept_in_float32(transformer, name, torch.bfloat16):
            parameter.data = parameter.data.to(torch.bfloat16)
    for layer in transformer.modules():
        if isinstance(layer, QuantizedLinear):
            layer.matmul = precision if products else None
    with torch.inference_mode(), LiveBytes() as live:
        transformer(*inputs(workload, torch.bfloat16), person_masks=masks(workload))
    layout = _layout(Weights(PUBLISHED, precision, precision), torch.bfloat16, workload, PlanSettings())
    expected = replace(layout, eight_bit_products=products).block_work(workload)
    assert live.peak <= expected <= 1.1 * live.peak


@pytest.mark.parametrize(("height", "width"), [(480, 832), (720, 1280)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_peak_and_operations_of_the_fast_decoder(dtype: torch.dtype, height: int, width: int) -> None:
    workload = Workload(height=height, width=width, frames=17, fast_decoder=True)
    with torch.device("meta"):
        decoder = FastDecoder({"latent_channels": 16, "widths": [256, 128, 64, 64]}).to(dtype)
    assert sum(p.numel() for p in decoder.parameters()) == pytest.approx(FAST_PARAMETERS, rel=1e-3)
    latents = torch.empty(16, 5, height // 8, width // 8, device="meta")
    unit = height * width * 64 * dtype.itemsize

    def decode() -> None:
        for _ in decoder.decode(latents):
            pass

    def preview() -> None:
        decoder.preview(latents)

    for run, bound in ((decode, 0.95), (preview, 0.3)):
        with torch.inference_mode(), LiveBytes() as live:
            run()
        assert bound * FAST_DECODE_UNITS <= live.peak / unit <= FAST_DECODE_UNITS
    for run, expected in (
        (decode, decoder_operations),
        (lambda: decoder.preview(latents), preview_operations),
    ):
        with torch.inference_mode(), FlopCounterMode(display=False) as count:
            run()
        assert expected(PUBLISHED, workload) == pytest.approx(count.get_total_flops(), rel=0.01)


def test_the_plan_counts_the_fast_decoder() -> None:
    layout = layout_of("bf16")
    plain, fast, preview = (
        layout.stages(Workload(**fields)) for fields in ({}, {"fast_decoder": True}, {"preview": True})
    )
    weights = FAST_PARAMETERS * 2
    assert fast["denoise"] == preview["denoise"] == plain["denoise"] + weights, (
        "a call needs more than a preview"
    )
    assert fast["decode"] < plain["decode"]
    assert preview["decode"] == plain["decode"] + weights


def test_peak_of_the_autoencoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae_stages, "_same", lambda before, after: False)  # the meta device has no values
    with torch.device("meta"):
        vae = AutoencoderKLWan()
    use_fast_layers(vae)
    unit = 480 * 832 * 96 * 4
    with torch.inference_mode(), LiveBytes() as live:
        for _ in video_vae.decode_latents(vae, torch.empty(16, 5, 60, 104, device="meta")):
            pass
    assert live.peak / unit == pytest.approx(DECODE_UNITS, rel=0.03)
    assert live.peak <= DECODE_UNITS * unit
    with torch.device("meta"):
        half_vae = AutoencoderKLWan()
    use_fast_layers(half_vae)
    video_vae.prepare_decoder(half_vae, torch.bfloat16)
    with torch.inference_mode(), LiveBytes() as live:
        for _ in video_vae.decode_latents(half_vae, torch.empty(16, 5, 60, 104, device="meta")):
            pass
    assert 0.95 * HALF_DECODE_UNITS <= live.peak / unit <= HALF_DECODE_UNITS
    with torch.inference_mode(), LiveBytes() as live:
        video_vae.encode_condition(vae, torch.empty(3, 25, 480, 832, device="meta"), 41)
    assert live.peak / unit == pytest.approx(ENCODE_UNITS, rel=0.03)
    assert live.peak <= ENCODE_UNITS * unit


@pytest.mark.parametrize("people", [1, 2])
def test_operations_of_a_model_call(people: int) -> None:
    workload = Workload(height=96, width=160, people=people, frames=9)
    layers = 2
    transformer = make_transformer(torch.float32, layers)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        transformer(*inputs(workload, torch.float32), person_masks=masks(workload))
    expected = call_operations(ModelSizes(layers=layers), workload) + 2 * PUBLISHED.time_parameters
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.002)


def test_operations_of_the_autoencoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae_stages, "_same", lambda before, after: False)
    with torch.device("meta"):
        vae = AutoencoderKLWan()
    use_fast_layers(vae)
    pixels = 480 * 832 * 81
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for _ in video_vae.decode_latents(vae, torch.empty(16, 21, 60, 104, device="meta")):
            pass
    assert counter.get_total_flops() / pixels == pytest.approx(DECODE_OPERATIONS, rel=0.01)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        video_vae.encode_condition(vae, torch.empty(3, 81, 480, 832, device="meta"), 81)
    assert counter.get_total_flops() / pixels == pytest.approx(ENCODE_OPERATIONS, rel=0.01)
