"""Streamed weights give the same bits as resident ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.models.quantized import quantize_linears
from multitalk.models.streaming import BlockStreamer, StreamedStack, streamed_indices
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.runtime.compiled import compile_blocks
from multitalk.runtime.plan import PARTS, HardwarePlan
from multitalk.runtime.settings import PlanSettings

from .small_device import DEVICE, SmallDevice

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LAYERS = 6  # of the embedded weights
CPU = torch.device("cpu")


def request(people: int = 1, **fields: object) -> GenerationRequest:
    audio: object = EXAMPLES / "one_person.wav"
    if people == 2:
        audio = {"person1": EXAMPLES / "left.wav", "person2": EXAMPLES / "right.wav"}
    image = EXAMPLES / ("one_person.png" if people == 1 else "two_people.png")
    settings: dict = {
        "max_seconds": 0.6,
        "frames_per_clip": 13,
        "motion_frames": 5,
        "steps": 2,
        "size": (96, 96),
    }
    return GenerationRequest(image=image, audio=audio, **(settings | fields))


def latents_of(pipeline: MultiTalkPipeline, job: GenerationRequest) -> list[torch.Tensor]:
    return [clip.latents.clone() for clip in pipeline.stream(job)]


@pytest.fixture(scope="module")
def resident() -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(plan=PlanSettings(device="cpu"))


def streamed_pipeline(plan: HardwarePlan) -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(plan=plan)


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [5]), (2, [2, 5]), (3, [1, 3, 5]), (4, [0, 2, 3, 5]), (6, [0, 1, 2, 3, 4, 5])]
)
def test_streamed_blocks_are_spread_evenly(count: int, expected: list[int]) -> None:
    assert streamed_indices(LAYERS, count) == expected
    assert len(set(streamed_indices(40, count))) == count


@pytest.mark.parametrize("count", [3, LAYERS])
def test_a_video_equals_that_of_resident_weights(resident: MultiTalkPipeline, count: int) -> None:
    plan = replace(resident.plan, streamed_blocks=count, resident=("transformer",))
    streamed = streamed_pipeline(plan)
    streamer = streamed.components.transformer.block_streamer
    assert streamer is not None
    assert len(streamer.streamed) == count
    for people in (1, 2):
        job = request(people, text_guidance=2, audio_guidance=2)
        expected, got = latents_of(resident, job), latents_of(streamed, job)
        assert len(expected) > 1
        for one, other in zip(expected, got, strict=True):
            assert torch.equal(one, other)


def test_loras_are_switched_between_jobs(resident: MultiTalkPipeline, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for block in range(LAYERS):
        name = f"diffusion_model.blocks.{block}"
        for layer in ("self_attn.q", "cross_attn.k", "ffn.0"):
            rows, columns = (512, 128) if layer == "ffn.0" else (128, 128)
            tensors[f"{name}.{layer}.lora_down.weight"] = torch.randn(4, columns, generator=generator) / 10
            tensors[f"{name}.{layer}.lora_up.weight"] = torch.randn(rows, 4, generator=generator) / 10
        tensors[f"{name}.self_attn.q.diff_b"] = torch.randn(128, generator=generator)
        tensors[f"{name}.norm3.diff"] = torch.randn(128, generator=generator) / 10
    save_file(tensors, tmp_path / "lora.safetensors")
    streamed = streamed_pipeline(replace(resident.plan, streamed_blocks=4))
    plain = request(2)
    with_lora = request(2, lora=[{"path": tmp_path / "lora.safetensors", "scale": 0.7}])
    results = [latents_of(resident, job) for job in (plain, with_lora, plain)]
    assert not torch.equal(results[0][0], results[1][0])
    for job, expected in zip((plain, with_lora, plain), results, strict=True):
        for one, other in zip(expected, latents_of(streamed, job), strict=True):
            assert torch.equal(one, other)


def test_a_pipeline_changes_between_jobs(resident: MultiTalkPipeline) -> None:
    job = request()
    expected = latents_of(resident, job)
    changing = streamed_pipeline(replace(resident.plan, streamed_blocks=5, resident=("transformer",)))
    for count, parts in ((5, ("transformer",)), (0, PARTS), (3, ("transformer", "vae")), (3, PARTS)):
        changing._planner._loaded = replace(resident.plan, streamed_blocks=count, resident=parts)
        assert torch.equal(latents_of(changing, job)[0], expected[0])
        streamer = changing.components.transformer.block_streamer
        assert (0 if streamer is None else len(streamer.streamed)) == count


def stack(precision: str | None) -> nn.ModuleList:
    torch.manual_seed(0)
    blocks = nn.ModuleList(nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 16)) for _ in range(5))
    for block in blocks:
        block.register_buffer("offset", torch.randn(3))
    if precision is not None:
        quantize_linears(blocks, precision)
    return blocks.requires_grad_(False)


@pytest.mark.parametrize("precision", [None, "int8", "fp8"])
def test_all_parameters_and_buffers_of_a_block(precision: str | None) -> None:
    expected_blocks, blocks = stack(precision), stack(precision)
    identities = [id(tensor) for tensor in blocks.parameters()]
    streamer = BlockStreamer(blocks, CPU, 4)
    x = torch.randn(7, 16)
    for _ in range(2):
        expected, got = x, x
        with torch.inference_mode():
            for block in expected_blocks:
                expected = block(expected) + block.offset.sum()
            for block in streamer.run():
                got = block(got) + block.offset.sum()
        assert torch.equal(expected, got)
    assert [id(tensor) for tensor in blocks.parameters()] == identities


def test_writes_to_an_offloaded_block_are_kept() -> None:
    blocks = stack(None)
    streamer = BlockStreamer(blocks, CPU, 5)
    for block in blocks:
        block[2].weight.zero_()
        block[2].bias.fill_(2.0)
    x = torch.randn(7, 16)
    for block in streamer.run():
        x = block(x)
    assert torch.equal(x, torch.full_like(x, 2.0))


def test_an_interrupted_run_leaves_the_blocks_usable() -> None:
    blocks, x = stack(None), torch.randn(7, 16)
    streamer = BlockStreamer(blocks, CPU, 5)
    run = streamer.run()
    next(run)
    next(run)
    run.close()
    expected, got = x, x
    for block in stack(None):
        expected = block(expected)
    for block in streamer.run():
        got = block(got)
    assert torch.equal(expected, got)
    # resident again
    streamer.set_count(0)
    got = x
    for block in blocks:
        got = block(got)
    assert torch.equal(expected, got)


def test_streamed_blocks_hold_no_device_memory() -> None:
    """Only their two slots do, each as large as the largest block."""
    blocks = stack(None)
    with SmallDevice() as device:
        streamer = BlockStreamer(blocks, DEVICE, 5)
        assert device.live == 0
        for _ in streamer.run():
            assert device.live == 2 * max(copy.size for copy in streamer._copies.values())


def test_layers_streamed_by_hooks() -> None:
    layers, x = stack(None), torch.randn(7, 16)
    expected = nn.Sequential(*stack(None))(x)
    streamed = StreamedStack(layers, CPU)
    for _ in range(2):
        got = x
        for layer in layers:
            got = layer(got)
        assert torch.equal(expected, got)
        streamed.release()
    streamed.keep_on_device()
    assert torch.equal(nn.Sequential(*layers)(x), expected)


def test_compiled_blocks_are_streamed() -> None:
    torch.manual_seed(0)
    transformer = MultiTalkTransformer(
        num_attention_heads=2, attention_head_dim=24, text_dim=8, text_len=4, freq_dim=8, ffn_dim=16,
        num_layers=5, image_dim=8, audio_layers=1, audio_channels=4, audio_hidden_dim=8, audio_tokens=2,
        audio_dim=8,
    ).requires_grad_(False)  # fmt: skip
    inputs = (
        torch.randn(1, 36, 3, 4, 4),
        torch.tensor([500.0]),
        torch.randn(1, 4, 48),
        torch.randn(1, 5, 48),
    )
    audio = torch.randn(1, 3, 2, 8)
    with torch.inference_mode():
        expected = transformer(*inputs, audio)
    compile_blocks(transformer, backend="eager")
    transformer.block_streamer = BlockStreamer(list(transformer.blocks), CPU, 4)
    for _ in range(2):
        with torch.inference_mode():
            assert torch.equal(transformer(*inputs, audio), expected)
