"""The kernels in Triton's interpreter, compared with their PyTorch forms.

`TRITON_INTERPRET=1` must be set before Triton is imported, so test_interpreted.py starts this file.
The interpreter (Triton 3.7.1) differs from a GPU in three ways:

* It cannot multiply bfloat16 matrices: with bfloat16 results, the LoRA of the products is in float16 here.
* It truncates float32 to bfloat16, so that results are off by one rounding more.
* It halves a value that rounds up to a power of two in e4m3 (the carry into the exponent is lost).
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from multitalk.models.kernels import operations, product
from multitalk.models.kernels.dispatch import forced
from multitalk.models.kernels.probe import Widths, cases
from multitalk.models.norms import Modulation, add_and_normalize, add_residual
from multitalk.models.quantized import QuantizedLinear, quantize_linears
from multitalk.models.quantized_matmul import LARGEST, quantize_tokens
from multitalk.models.transformer import MultiTalkTransformer
from tests.models.test_half import make_transformer, run, to_float16

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FLOAT16 = torch.float16
E4M3 = torch.float8_e4m3fn


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(product, "device_tiles", lambda: product.Tiles(32, 32, 32, 4, 1))
    with torch.inference_mode():
        yield


def assert_rounded_alike(result: torch.Tensor, expected: torch.Tensor, roundings: float) -> None:
    """Accept some roundings of the largest value of a row, in the dtype of the result."""
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    largest = expected.float().abs().amax(-1, keepdim=True)
    bound = roundings * torch.finfo(result.dtype).eps * largest
    assert ((result.float() - expected.float()).abs() <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kernel(dtype):
    """13 tokens of width 120 and 5 heads: neither blocks nor warps divide them."""
    names = set()
    for name, case in cases(
        CPU, dtype, Widths(heads=5, head_dim=24, ffn_dim=136, audio_dim=40), fp8=True, rows=13
    ):
        if "float8" in name or (dtype == torch.bfloat16 and name.startswith("the epilogue")):
            continue  # see test_quantized_tokens and test_products
        with forced(True):
            results = case()
        with forced(False):
            expected = case()
        roundings = 8.0 if dtype == torch.float32 else 2.0  # float32 sums are in another order
        for result, reference in zip(results, expected, strict=True):
            assert_rounded_alike(result, reference, roundings)
        names.add(name)
    assert len(names) >= 9


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_video_of_a_batch_has_its_own_modulation(dtype):
    hidden, update = torch.randn(2, 3, 7, 40).to(dtype)
    modulation = torch.randn(3, 6, 40)
    gate, scale, shift = modulation.unsqueeze(0).expand(3, 3, 6, 40)[0, :3].chunk(6, dim=1)[:3]
    assert gate.shape == (3, 1, 40)
    results = []
    for kernels in (True, False):
        with forced(kernels):
            summed, norm = add_and_normalize(hidden, update, gate, Modulation(scale, shift, 1e-6), dtype)
            results.append((summed, norm(), add_residual(hidden, update, gate)))
    for result, reference in zip(*results, strict=True):
        assert_rounded_alike(result, reference, 8 if dtype == torch.float32 else 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("eight_bit", [torch.int8, E4M3])
def test_quantized_tokens(dtype, eight_bit):
    """Scales are equal; values differ by one step at most, and int8 ones by none."""
    tokens = (torch.randn(9, 136) * torch.tensor([0.0, 1e-9, 1.0] * 3)[:, None]).to(dtype)
    values, scales = operations.quantize(tokens, eight_bit, LARGEST[eight_bit])
    with forced(False):
        expected, expected_scales = quantize_tokens(tokens, eight_bit)
    assert torch.equal(scales, expected_scales)
    if eight_bit == torch.int8:
        assert torch.equal(values, expected)
        return
    halved = (2 * values.float() == expected.float()) & (expected.float().abs().log2().frac() == 0)
    step = (expected.float() / 8).abs() + 2**-9  # e4m3 has 3 bits of mantissa
    assert ((values.float() - expected.float()).abs() <= step)[~halved].all()
    assert (values.float() == expected.float()).float().mean() > 0.9


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("low_rank", "gelu"), [(None, False), (None, True), (5, False), (20, True)])
@pytest.mark.parametrize(("depth", "eight_bit"), [(64, torch.int8), (48, torch.int8), (48, E4M3)])
def test_products(dtype, low_rank, gelu, depth, eight_bit):
    """37 x 40 results, of which tiles of 32 x 32 cover no row or column exactly."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    tokens, weight = (torch.randint(-127, 128, (size, depth), generator=generator) for size in (37, 40))
    tokens, weight = tokens.to(eight_bit), weight.to(eight_bit)
    token_scale, scale = random(37, 1).abs() / 100, random(40, 1).abs() / 100
    bias = random(40).to(dtype)
    inner = up = None
    sums = tokens.float() @ weight.float().T
    expected = sums * token_scale * scale.T + bias.float()
    if low_rank is not None:
        kind = torch.float32 if dtype == torch.float32 else FLOAT16
        inner, up = random(37, low_rank).to(kind), random(40, low_rank).to(kind)
        expected += inner.float() @ up.float().T
    if gelu:
        expected = F.gelu(expected, approximate="tanh")
    finish = (token_scale, scale, bias, inner, up, gelu)
    fused = operations.eight_bit_product(tokens, weight, *finish, dtype)
    for source in (sums.int(), sums):
        output = torch.empty(37, 40, dtype=dtype)
        operations.finish(source, *finish, output)
        assert_rounded_alike(output, expected.to(dtype), 16 if dtype == torch.float32 else 1)
    assert_rounded_alike(fused, expected.to(dtype), 16 if dtype == torch.float32 else 1)
    # what fp8 products with scales of their own have left to do
    operations.finish(fused, None, None, None, inner, up, False, output)
    low_rank_part = 0.0 if inner is None else inner.float() @ up.float().T
    expected = (fused.float() + low_rank_part).to(dtype)
    assert_rounded_alike(output, expected, 16 if dtype == torch.float32 else 1)


def difference(transformer: MultiTalkTransformer, dtype: torch.dtype, people: int) -> float:
    """Return how much the kernels change a prediction, relative to it."""
    with forced(False):
        expected = run(transformer, dtype, people)
    with forced(True):
        result = run(transformer, dtype, people)
    return ((result - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(
    ("dtype", "people", "bound"),
    [(torch.float32, 1, 1e-6), (torch.float32, 2, 1e-6), (torch.bfloat16, 2, 2e-2), (FLOAT16, 2, 2e-3)],
)
def test_a_whole_transformer(dtype, people, bound):
    transformer = make_transformer(1.0)
    transformer = to_float16(transformer) if dtype == FLOAT16 else transformer.to(dtype)
    assert difference(transformer, dtype, people) < bound


@pytest.mark.parametrize(
    ("matmul", "people", "low_rank"),
    [("int8", 2, True), ("int8-fused", 2, True), ("fp8-fused", 2, True), ("int8-fused", 1, False)],
)
def test_a_quantized_transformer(matmul, people, low_rank):
    """Rounding to 8 bits turns differences of one unit in the last place into larger ones."""
    transformer = make_transformer(1.0)
    quantize_linears(transformer.blocks, matmul.removesuffix("-fused"))
    generator = torch.Generator().manual_seed(2)
    for layer in transformer.blocks.modules():
        if isinstance(layer, QuantizedLinear):
            layer.matmul, layer.minimal_rows = matmul, 1
            if low_rank:
                down = torch.randn(3, layer.in_features, generator=generator)
                layer.set_low_rank(down, torch.randn(layer.out_features, 3, generator=generator) / 20)
    with forced(True):
        result = run(transformer, torch.float32, people)
    for layer in transformer.blocks.modules():
        if isinstance(layer, QuantizedLinear):
            layer.matmul = "int8" if matmul.startswith("int8") else None
    with forced(False):
        expected = run(transformer, torch.float32, people)
    bound = 5e-3 if matmul.startswith("int8") else 5e-2
    assert (result - expected).norm() < bound * expected.norm()
