"""Compiled blocks: no graph break in a block, and the same results."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multitalk.errors import InvalidInput
from multitalk.models.attention_backends import set_attention_backends
from multitalk.models.quantized import quantize_linears
from multitalk.models.streaming import BlockStreamer
from multitalk.request.parts import CacheSpec
from multitalk.runtime import compiled
from multitalk.runtime.compiled import CACHE_VARIABLE, compile_blocks, compile_by_plan, use_compile_cache
from multitalk.runtime.plan import HardwarePlan
from multitalk.sampling.cache import use_cache
from tests.models.test_models import conditions, small_transformer

Shape = tuple[int, int, int]
# torch 2.5 makes a graph for each size, although one for all blocks
SIZES_SHARED = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6)


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
def test_every_backend_compiles_without_a_graph_break(people, backend):
    """Like GPU kernels, `_native_math` enters a context that torch 2.5 cannot trace."""
    transformer = small_transformer()
    set_attention_backends(transformer, backend, backend)
    shapes = ((3, 4, 8), (3, 8, 8), (3, 8, 12))
    plain = [call(transformer, people, shape, batch=2) for shape in shapes]
    compile_blocks(transformer, backend="eager")
    for shape, expected in zip(shapes, plain, strict=True):
        torch.testing.assert_close(call(transformer, people, shape, batch=2), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("people", [1, 2])
@pytest.mark.parametrize("precision", ["float32", "int8", "fp8"])
def test_a_block_compiles_without_a_graph_break(people, precision):
    transformer = small_transformer()
    if precision != "float32":
        quantize_linears(transformer.blocks, precision)
    plain = call(transformer, people)
    compile_blocks(transformer, backend="eager")  # fullgraph: a graph break is an error
    compiled = call(transformer, people)
    torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-5)


def test_blocks_and_sizes_share_compiled_code():
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
    assert after_two == 2, "once for the first size, once for all others"
    assert graphs == after_two or not SIZES_SHARED
    for batch in range(1, 5):  # more variants than torch's default limit
        call(transformer, 1, batch=batch)
        call(transformer, 2, batch=batch)


def test_a_cache_wraps_compiled_blocks():
    transformer = small_transformer(num_layers=3)
    compile_blocks(transformer, backend="eager")
    plain = call(transformer, 1)
    for name in ("first_block", "magcache"):
        with use_cache(transformer, CacheSpec(name=name, threshold=0), 4, "480p"):
            from multitalk.sampling.cache import cache_context

            with cache_context(transformer, "cond"):
                assert torch.equal(call(transformer, 1), plain)


def test_streamed_blocks_share_compiled_code():
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
    assert graphs <= 2, "at most one graph each for resident and streamed blocks"


@pytest.fixture(scope="module")
def compile_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kernels that attention backends have in common are compiled once."""
    return tmp_path_factory.mktemp("compile-cache")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["native", "_native_math"])
def test_inductor_kernels_give_the_same_result(compile_cache, monkeypatch, backend):
    monkeypatch.setenv(CACHE_VARIABLE, str(compile_cache))
    transformer = small_transformer()
    set_attention_backends(transformer, backend, backend)
    plain = call(transformer, 1)
    compile_blocks(transformer)
    torch.testing.assert_close(call(transformer, 1), plain, rtol=1e-4, atol=1e-5)
    assert any(compile_cache.rglob("*")), "compiled kernels are stored"


def test_the_cache_folder_is_only_used_if_it_is_writable(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, "")  # restores the variable afterwards
    monkeypatch.delenv(CACHE_VARIABLE)
    use_compile_cache(tmp_path / "nowhere")
    assert CACHE_VARIABLE not in os.environ
    use_compile_cache(tmp_path)
    assert os.environ[CACHE_VARIABLE] == str(tmp_path)
    use_compile_cache(tmp_path / "other")
    assert os.environ[CACHE_VARIABLE] == str(tmp_path), "a folder set by the user is kept"
    monkeypatch.setenv(CACHE_VARIABLE, str(Path(tempfile.gettempdir()) / "torchinductor_somebody"))
    use_compile_cache(tmp_path)
    assert os.environ[CACHE_VARIABLE] == str(tmp_path), "torch's default is replaced"


def test_an_unknown_mode_is_rejected():
    with pytest.raises(InvalidInput, match="max-autotune-no-cudagraphs"):
        compile_blocks(small_transformer(), mode="reduce-overhead")


def test_compiled_with_a_lora():
    transformer = small_transformer()
    for block in transformer.blocks:
        layer = block.attn1.to_q
        layer.set_low_rank(torch.ones(2, layer.in_features) / 100, torch.ones(layer.out_features, 2) / 10)
    plain = call(transformer, 1)
    compile_blocks(transformer, backend="eager")
    torch.testing.assert_close(call(transformer, 1), plain, rtol=1e-5, atol=1e-5)


def test_a_plan_that_compiles_is_applied(monkeypatch, tmp_path):
    modes = []
    monkeypatch.setattr(compiled, "compile_blocks", lambda transformer, mode: modes.append(mode))
    monkeypatch.setenv(CACHE_VARIABLE, "")
    mode = "max-autotune-no-cudagraphs"
    plan = HardwarePlan(torch.device("cpu"), torch.float32, "native", compile_mode=mode)
    transformer = small_transformer()
    compile_by_plan(transformer, plan)
    assert modes == []
    compile_by_plan(transformer, replace(plan, compile=True, compile_cache=tmp_path))
    assert modes == [mode]
    assert os.environ[CACHE_VARIABLE] == str(tmp_path)


def test_compiled_kernels_are_stored_in_the_weights_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "compile_blocks", lambda transformer, mode: None)
    monkeypatch.setenv(CACHE_VARIABLE, "")
    plan = HardwarePlan(torch.device("cpu"), torch.float32, "native", compile=True)
    compile_by_plan(small_transformer(), plan, tmp_path)
    assert os.environ[CACHE_VARIABLE] == "", "there is no folder for them"
    (tmp_path / "compiled").mkdir()
    compile_by_plan(small_transformer(), plan, tmp_path)
    assert os.environ[CACHE_VARIABLE] == str(tmp_path / "compiled")


def test_a_plan_compiles_every_block():
    transformer = small_transformer()
    plan = HardwarePlan(torch.device("cpu"), torch.float32, "native", compile=True)
    plain_forward = transformer.blocks[0].forward
    compile_by_plan(transformer, plan)
    assert transformer.blocks[0].forward != plain_forward
