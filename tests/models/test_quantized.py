"""8-bit linear layers against float32: bounds, shapes, dtypes, kernels, compiling."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from multitalk.models import matmul_choice, quantized_matmul
from multitalk.models.linear import LoraLinear, replace_linears
from multitalk.models.matmul_choice import choose_matmul
from multitalk.models.quantized import QUANTIZED_LINEARS, QuantizedLinear, quantize_linears, set_matmuls
from multitalk.models.quantized_matmul import QUANTIZED_MATMULS, Extra, quantize_tokens
from tests.numbers import make_int8_product_exact

CPU = torch.device("cpu")
IN, OUT, TOKENS = 96, 160, 1100
# relative L2 errors on normal values: 8-bit weights, and 8-bit weights and activations
BOUNDS = {"int8": (0.006, 0.010), "fp8": (0.028, 0.040)}

# torch 2.5 has no fp8 product on a CPU; later versions compute the same as on a GPU
has_fp8_product = pytest.mark.skipif(
    not matmul_choice._works("fp8", CPU), reason="this version of torch has no fp8 product on a CPU"
)


@pytest.fixture
def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(IN, OUT).requires_grad_(False)


@pytest.fixture
def hidden_states() -> torch.Tensor:
    values = torch.randn(2, TOKENS // 2, IN, generator=torch.Generator().manual_seed(1))
    values[0, 3] *= 100  # tokens of very different magnitude, and one of zeros
    values[0, 4] = 0
    return values


def quantized(precision: str, linear: nn.Linear) -> QuantizedLinear:
    """Quantize a copy, because a quantized layer shares its bias."""
    return QUANTIZED_LINEARS[precision].from_linear(copy.deepcopy(linear))


def error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("precision", QUANTIZED_LINEARS)
def test_dequantized(precision, dtype, linear, hidden_states):
    layer = quantized(precision, linear).to(dtype)
    output = layer(hidden_states.to(dtype))
    assert output.dtype == dtype
    assert output.shape == (2, TOKENS // 2, OUT)
    rounding = 0.0 if dtype == torch.float32 else 0.004
    assert error(output, linear(hidden_states)) < BOUNDS[precision][0] + rounding


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "matmul",
    ["int8", pytest.param("fp8", marks=has_fp8_product), pytest.param("fp8-rowwise", marks=has_fp8_product)],
)
def test_multiplied_in_8_bits(matmul, dtype, linear, hidden_states, monkeypatch):
    make_int8_product_exact(monkeypatch)
    precision = matmul.split("-")[0]
    layer = quantized(precision, linear).to(dtype)
    layer.matmul = matmul
    output = layer(hidden_states.to(dtype))
    assert output.dtype == dtype
    expected = linear(hidden_states)
    assert error(output, expected) < BOUNDS[precision][1] + (0.0 if dtype == torch.float32 else 0.004)
    # each token has its own scale: small tokens are as exact as the large one
    assert error(output[1], expected[1]) < BOUNDS[precision][1] + (0.0 if dtype == torch.float32 else 0.004)
    assert torch.allclose(output[0, 4].float(), linear.bias, atol=0.01)
    # in pieces that do not divide the tokens evenly
    monkeypatch.setattr(quantized_matmul, "_PIECE", OUT * 333)
    monkeypatch.setattr(quantized_matmul, "MINIMAL_ROWS", 1)
    pieces = layer(hidden_states.to(dtype))
    if matmul == "int8":  # sums of whole numbers are exact in any order
        assert torch.equal(pieces, output)
    else:  # the kernel for another number of rows may add in another order: a few epsilons of each token
        largest = output.float().abs().amax(-1, keepdim=True)
        epsilon = torch.finfo(dtype if dtype == torch.float32 else torch.bfloat16).eps
        assert ((pieces.float() - output.float()).abs() <= 4 * epsilon * largest).all()


def test_integers_are_multiplied_exactly(monkeypatch):
    """int8 weights with scale 1 and integer tokens give the exact product."""
    make_int8_product_exact(monkeypatch)
    generator = torch.Generator().manual_seed(2)
    weight = torch.randint(-127, 128, (24, 64), generator=generator, dtype=torch.int8)
    tokens = torch.randint(-127, 128, (40, 64), generator=generator).float()
    tokens[:, 0] = 127.0
    quantized_tokens = quantize_tokens(tokens, torch.int8)
    result = QUANTIZED_MATMULS["int8"](
        quantized_tokens, weight, torch.ones(24, 1), None, torch.float32, Extra()
    )
    assert torch.equal(result, tokens @ weight.float().T)


def test_few_tokens_are_dequantized(linear, hidden_states):
    """Only video tokens are quantized; keys and values of the conditions are not."""
    layer = quantized("int8", linear)
    exact = layer(hidden_states)
    layer.matmul = "int8"
    assert not torch.equal(layer(hidden_states), exact)
    few = hidden_states[:, :300]
    layer_without = quantized("int8", linear)
    assert torch.equal(layer(few), layer_without(few))


@pytest.mark.parametrize("precision", QUANTIZED_LINEARS)
def test_casting_a_model_keeps_weights_and_scales(precision, linear):
    layer = quantized(precision, linear)
    bits, scale = layer.weight.view(torch.uint8).clone(), layer.scale.clone()
    model = nn.Sequential(layer).to(torch.bfloat16).half().float()
    assert torch.equal(model[0].weight.view(torch.uint8), bits)
    assert model[0].weight.dtype == QUANTIZED_LINEARS[precision].weight_dtype
    assert torch.equal(model[0].scale, scale)
    assert layer.bfloat16().bias.dtype == torch.bfloat16
    assert layer.to("meta").weight.dtype == QUANTIZED_LINEARS[precision].weight_dtype


@pytest.mark.parametrize("precision", QUANTIZED_LINEARS)
def test_a_row_of_zeros_and_rows_of_any_magnitude(precision):
    weight = torch.randn(4, 16, generator=torch.Generator().manual_seed(3))
    weight *= torch.tensor([[0.0], [1e-6], [1.0], [1e4]])
    layer = QUANTIZED_LINEARS[precision]
    values, scale = layer.quantize(weight)
    restored = values.float() * scale
    assert torch.equal(restored[0], torch.zeros(16))
    for row in range(1, 4):
        assert error(restored[row], weight[row]) < BOUNDS[precision][0]


def test_layers_of_other_sizes_and_kinds_are_kept():
    model = nn.ModuleDict({"odd": nn.Linear(12, 16), "even": nn.Linear(16, 8), "norm": nn.LayerNorm(8)})
    quantize_linears(model, "int8")
    assert [type(layer).__name__ for layer in model.values()] == ["Linear", "Int8Linear", "LayerNorm"]
    replace_linears(model, LoraLinear.from_linear)
    assert [type(layer).__name__ for layer in model.values()] == ["LoraLinear", "Int8Linear", "LayerNorm"]
    with pytest.raises(ValueError, match="int8 or fp8"):
        quantize_linears(model, "int4")


@pytest.mark.parametrize("precision", QUANTIZED_LINEARS)
def test_a_low_rank_addition(precision, linear, hidden_states):
    layer = quantized(precision, linear)
    without = layer(hidden_states)
    down, up = torch.randn(4, IN), torch.randn(OUT, 4)
    layer.set_low_rank(down, up)
    expected = without + hidden_states @ down.T @ up.T
    assert error(layer(hidden_states), expected) < 1e-6
    assert set(layer.state_dict()) == {"weight", "scale", "bias"}
    layer.set_low_rank(None, None)
    assert torch.equal(layer(hidden_states), without)


def test_kernels_by_compute_capability(monkeypatch):
    """Candidates only: which of them works is probed on the device."""
    by_capability = {
        (7, 0): ([], []),
        (7, 5): (["int8"], []),
        (8, 0): (["int8"], []),
        (8, 6): (["int8"], []),
        (8, 9): (["int8"], ["fp8"]),
        (9, 0): (["int8"], ["fp8-rowwise", "fp8"]),
        (12, 0): (["int8"], ["fp8"]),
    }
    for capability, (int8, fp8) in by_capability.items():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert matmul_choice._candidates("int8", torch.device("cuda")) == int8
        assert matmul_choice._candidates("fp8", torch.device("cuda")) == fp8
    assert choose_matmul("int8", CPU, (64, 64), "dequantize") is None
    assert choose_matmul("int8", CPU, (64, 65)) is None
    assert choose_matmul("fp8", CPU, (64, 64)) is None
    assert choose_matmul("int8", CPU, (64, 64)) == ("int8" if matmul_choice._works("int8", CPU) else None)


def test_a_kernel_that_fails_or_errs_is_not_used(monkeypatch):
    def lacking(*arguments: object) -> torch.Tensor:
        raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED")

    wrong = QUANTIZED_MATMULS["int8"]
    monkeypatch.setitem(QUANTIZED_MATMULS, "int8", lacking)
    assert not matmul_choice._works("int8", CPU)
    monkeypatch.setitem(QUANTIZED_MATMULS, "int8", lambda *arguments: 2 * wrong(*arguments))
    assert not matmul_choice._works("int8", CPU)


def test_scales_of_tokens_have_room_for_a_kernel_that_reads_whole_blocks():
    scales = torch.rand(333, 1)
    padded = quantized_matmul._with_room(scales)
    assert torch.equal(padded, scales)
    assert padded.untyped_storage().nbytes() == 512 * 4
    assert padded.stride() == scales.stride()


@pytest.mark.parametrize("precision", QUANTIZED_LINEARS)
def test_a_layer_compiles_without_graph_breaks(precision, linear, hidden_states):
    """With and without a LoRA, with and without an 8-bit product."""
    torch.compiler.reset()
    layer = quantized(precision, linear)
    set_matmuls(layer, CPU)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    for tokens in (hidden_states, hidden_states[:, :8]):
        for matrices in ((None, None), (torch.randn(4, IN), torch.randn(OUT, 4)), (None, None)):
            layer.set_low_rank(*matrices)
            assert torch.equal(compiled(tokens), layer(tokens))
