"""Compiled blocks and joined projections: no break in a block, and the same results."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multitalk.acceleration import Acceleration, accelerate
from multitalk.errors import InvalidInput
from multitalk.hardware import HardwarePlan
from multitalk.models.attention_backends import set_attention_backends
from multitalk.models.compiled import CACHE_VARIABLE, compile_blocks, use_compile_cache
from multitalk.models.fused_projections import fuse_qkv
from multitalk.models.quantized import quantize_linears
from multitalk.models.streaming import BlockStreamer
from multitalk.request_parts import CacheSpec
from multitalk.sampling.cache import use_cache
from tests.test_models import conditions, small_transformer

Shape = tuple[int, int, int]
# torch 2.5 compiles every block for itself
SHARED = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def call(transformer, people: int, shape: Shape = (3, 4, 8), batch: int = 1) -> torch.Tensor:
    frames, height, width = shape
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(batch, 36, *shape, generator=generator)
    text, image, audio = conditions(transformer, people, frames * 4 - 3)
    masks = None
    if people == 2:
        masks = torch.zeros(3, height * width // 4)
        masks[0, :3] = masks[1, 3:6] = masks[2, 6:] = 1
    with torch.inference_mode():
        return transformer(
            latents,
            torch.tensor([500.0]),
            text.expand(batch, -1, -1),
            image,
            audio.expand(batch, -1, -1, -1),
            person_masks=masks,
        )


@pytest.mark.parametrize("backend", ["native", "_native_math"])
@pytest.mark.parametrize("people", [1, 2])
def test_any_backend_compiles_without_a_break(people, backend):
    """As the kernels of GPUs do, `_native_math` enters a context that torch 2.5 can't trace."""
    transformer = small_transformer()
    set_attention_backends(transformer, backend, backend)
    shapes = ((3, 4, 8), (3, 8, 8), (3, 8, 12))
    plain = [call(transformer, people, shape, batch=2) for shape in shapes]
    compile_blocks(transformer, backend="eager")
    for shape, expected in zip(shapes, plain, strict=True):
        torch.testing.assert_close(call(transformer, people, shape, batch=2), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("people", [1, 2])
@pytest.mark.parametrize("precision", ["float32", "int8", "fp8"])
def test_a_block_compiles_without_a_break(people, precision):
    transformer = small_transformer()
    if precision != "float32":
        quantize_linears(transformer.blocks, precision)
    plain = call(transformer, people)
    compile_blocks(transformer, backend="eager")  # fullgraph: a break is an error
    compiled = call(transformer, people)
    torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-5)


def test_blocks_and_sizes_share_what_is_compiled():
    graphs = 0

    def counting(graph: torch.fx.GraphModule, inputs: list) -> torch.fx.GraphModule:
        nonlocal graphs
        graphs += 1
        return graph

    transformer = small_transformer(num_layers=2)
    plain = [call(transformer, 1, shape) for shape in ((3, 4, 8), (3, 8, 8), (3, 8, 12), (3, 12, 16))]
    compile_blocks(transformer, backend=counting)
    for shape, expected in zip(((3, 4, 8), (3, 8, 8), (3, 8, 12), (3, 12, 16)), plain, strict=True):
        torch.testing.assert_close(call(transformer, 1, shape), expected, rtol=1e-5, atol=1e-5)
        if shape == (3, 8, 8):
            after_two = graphs
    apart = 1 if SHARED else len(transformer.blocks)
    assert after_two == 2 * apart, (
        "once for the first size, once for all others, whatever the number of blocks"
    )
    assert graphs == after_two or not SHARED
    for batch in range(1, 5):  # more kinds of calls than torch compiles by itself
        call(transformer, 1, batch=batch)
        call(transformer, 2, batch=batch)


def test_a_cache_stays_around_what_is_compiled():
    transformer = small_transformer(num_layers=3)
    compile_blocks(transformer, backend="eager")
    plain = call(transformer, 1)
    for name in ("first_block", "magcache"):
        with use_cache(transformer, CacheSpec(name=name, threshold=0), 4, "480p"):
            from multitalk.sampling.cache import cache_context

            with cache_context(transformer, "cond"):
                assert torch.equal(call(transformer, 1), plain)


def test_streamed_blocks_share_what_is_compiled():
    graphs = 0

    def counting(graph: torch.fx.GraphModule, inputs: list) -> torch.fx.GraphModule:
        nonlocal graphs
        graphs += 1
        return graph

    transformer = small_transformer(num_layers=4)
    plain = call(transformer, 1)
    compile_blocks(transformer, backend=counting)
    transformer.block_streamer = BlockStreamer(list(transformer.blocks), torch.device("cpu"), 3)
    for _ in range(2):
        torch.testing.assert_close(call(transformer, 1), plain, rtol=1e-5, atol=1e-5)
    assert graphs <= (2 if SHARED else 4), "resident blocks, and streamed ones at most"


@pytest.fixture(scope="module")
def compile_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kernels that attention backends have in common are compiled once."""
    return tmp_path_factory.mktemp("compile-cache")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["native", "_native_math"])
def test_the_compilers_own_kernels_give_the_same(compile_cache, monkeypatch, backend):
    monkeypatch.setenv(CACHE_VARIABLE, str(compile_cache))
    transformer = small_transformer()
    set_attention_backends(transformer, backend, backend)
    plain = call(transformer, 1)
    compile_blocks(transformer)
    torch.testing.assert_close(call(transformer, 1), plain, rtol=1e-4, atol=1e-5)
    assert any(compile_cache.rglob("*")), "what was compiled is kept"


def test_the_cache_folder_is_only_used_where_it_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, "")  # so that what it was comes back afterwards
    monkeypatch.delenv(CACHE_VARIABLE)
    use_compile_cache(tmp_path / "nowhere")
    assert CACHE_VARIABLE not in os.environ
    use_compile_cache(tmp_path)
    assert os.environ[CACHE_VARIABLE] == str(tmp_path)
    use_compile_cache(tmp_path / "other")
    assert os.environ[CACHE_VARIABLE] == str(tmp_path), "what a person has set stays"
    monkeypatch.setenv(CACHE_VARIABLE, str(Path(tempfile.gettempdir()) / "torchinductor_somebody"))
    use_compile_cache(tmp_path)
    assert os.environ[CACHE_VARIABLE] == str(tmp_path), "torch's own choice gives way"


def test_an_unknown_mode_is_refused():
    with pytest.raises(InvalidInput, match="max-autotune-no-cudagraphs"):
        compile_blocks(small_transformer(), mode="reduce-overhead")


@pytest.mark.parametrize("precision", ["float32", "int8", "fp8"])
@pytest.mark.parametrize("people", [1, 2])
def test_joined_projections_change_nothing(people, precision):
    transformer = small_transformer()
    if precision != "float32":
        quantize_linears(transformer.blocks, precision)
    plain = call(transformer, people)
    parameters = sum(parameter.numel() for parameter in transformer.parameters())
    fuse_qkv(transformer)
    assert not hasattr(transformer.blocks[0].attn1, "to_q")
    assert sum(parameter.numel() for parameter in transformer.parameters()) == parameters, "none twice"
    torch.testing.assert_close(call(transformer, people), plain, rtol=1e-5, atol=1e-5)


def test_joined_and_compiled_with_a_lora():
    transformer = small_transformer()
    fuse_qkv(transformer)
    for block in transformer.blocks:
        layer = block.attn1.to_qkv
        layer.set_low_rank(torch.ones(2, layer.in_features) / 100, torch.ones(layer.out_features, 2) / 10)
    plain = call(transformer, 1)
    compile_blocks(transformer, backend="eager")
    torch.testing.assert_close(call(transformer, 1), plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fuse", ["on", "off"])
def test_settings_come_from_the_environment(fuse):
    settings = Acceleration.from_environment({"MULTITALK_FUSE_QKV": fuse, "MULTITALK_COMPILE_CACHE": "/x"})
    assert settings == Acceleration(fuse_qkv=fuse == "on", compile_cache=Path("/x"))
    with pytest.raises(InvalidInput, match="on or off"):
        Acceleration.from_environment({"MULTITALK_FUSE_QKV": "maybe"})


def test_a_plan_that_compiles_is_followed():
    transformer = small_transformer()
    plan = HardwarePlan(torch.device("cpu"), torch.float32, "native", compile=True)
    plain_forward = transformer.blocks[0].forward
    accelerate(transformer, plan, settings=Acceleration(fuse_qkv=True))
    assert transformer.blocks[0].forward != plain_forward
    assert transformer.blocks[0].attn1.fused_projections
    streamed = small_transformer()
    accelerate(
        streamed, replace(plan, compile=False, streamed_blocks=1), settings=Acceleration(fuse_qkv=True)
    )
    assert not streamed.blocks[0].attn1.fused_projections
