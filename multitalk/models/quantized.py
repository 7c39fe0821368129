"""Linear layers with 8-bit weights: int8 or fp8, with one scale per output row.

A layer multiplies in 8 bits when its device has a kernel and there are enough tokens
(:mod:`multitalk.models.quantized_matmul`). Otherwise it dequantizes its weights to the dtype of its input for
the product. It never keeps a second copy of them.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from ..patches.torch import FixedDtypeModule
from .kernels.dispatch import use_kernels
from .linear import LowRankLayer, replace_linears
from .matmul_choice import Matmul, choose_matmul
from .quantized_matmul import (
    LARGEST,
    MINIMAL_ROWS,
    QUANTIZED_MATMULS,
    Extra,
    QuantizedTokens,
    quantize_tokens,
)

# Both sizes of a quantized layer are multiples of this: kernels require it, and it keeps the tensors that
# follow in a file aligned.
SIZE_MULTIPLE = 8
_SMALLEST_SCALE = 1e-12  # of a row of zeros


class QuantizedLinear(FixedDtypeModule, LowRankLayer):
    """A linear layer with 8-bit weights.

    It has the attributes of ``nn.Linear``, and `scale`. ``.to(dtype)`` does not cast weights and scales.

    Args:
        in_features, out_features: Multiples of 8.
        bias: Whether the layer has a bias.

    Attributes:
        weight: ``out_features in_features`` in 8 bits.
        scale: ``out_features 1`` float32; the weights are ``weight * scale``.
        bias: ``out_features`` or None.
        matmul: Name of the kernel that multiplies in 8 bits; None always dequantizes.
        minimal_rows: Number of tokens from which on the kernel is used.
    """

    precision: ClassVar[str]
    weight_dtype: ClassVar[torch.dtype]
    fixed_dtype = ("weight", "scale")

    weight: nn.Parameter
    scale: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        empty = torch.empty(out_features, in_features, dtype=self.weight_dtype)
        self.weight = nn.Parameter(empty, requires_grad=False)
        self.scale = nn.Parameter(torch.empty(out_features, 1), requires_grad=False)
        self.register_parameter("bias", nn.Parameter(torch.empty(out_features)) if bias else None)
        self.matmul: str | None = None
        self.minimal_rows = MINIMAL_ROWS

    @classmethod
    def quantize(cls, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantize a matrix row by row.

        Args:
            weight: ``N K``, any float dtype.

        Returns:
            The 8-bit matrix and the scales of its rows, ``N 1`` float32.
        """
        weight = weight.float()
        largest = torch.linalg.vector_norm(weight, ord=float("inf"), dim=1, keepdim=True)  # makes no copy
        scale = largest.div_(LARGEST[cls.weight_dtype]).clamp_(min=_SMALLEST_SCALE)
        return cls.round(weight / scale), scale

    @classmethod
    def round(cls, values: torch.Tensor) -> torch.Tensor:
        """Round scaled values to the 8-bit dtype; may change `values` in place."""
        return values.to(cls.weight_dtype)

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> QuantizedLinear:
        """Quantize a linear layer, whose bias is shared; a layer on the meta device stays empty."""
        with torch.device("meta"):
            layer = cls(linear.in_features, linear.out_features, linear.bias is not None)
        if not linear.weight.is_meta:  # operations there import torch._dynamo, which takes seconds
            weight, scale = cls.quantize(linear.weight.detach())
            layer.weight = nn.Parameter(weight, requires_grad=False)
            layer.scale = nn.Parameter(scale, requires_grad=False)
        layer.bias = linear.bias
        return layer.train(linear.training)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return the weights ``N K`` in a dtype, multiplied in float32 and rounded once."""
        # 8-bit values are exact in every float dtype; in place, so that no wider copy is made
        return self.weight.to(dtype, copy=True).mul_(self.scale)

    def multiplies(self, hidden_states: torch.Tensor) -> bool:
        """Return whether the product with an input ``... in_features`` is computed in 8 bits."""
        return self.matmul is not None and hidden_states.numel() // self.in_features >= self.minimal_rows

    def forward(
        self, hidden_states: torch.Tensor, tokens: QuantizedTokens | None = None, gelu: bool = False
    ) -> torch.Tensor:
        """Project ``... in_features`` to ``... out_features``, in the input's dtype.

        Args:
            hidden_states: The input.
            tokens: The input in 8 bits, if it is known; see :func:`quantize_once`.
            gelu: Whether GELU (its tanh form) is applied to the result.
        """
        flat = hidden_states.flatten(0, -2)
        inner = None if self.lora_down is None else F.linear(flat, self.lora_down)
        extra = Extra(inner, self.lora_up, gelu)
        if self.matmul is None or not self.multiplies(hidden_states):
            output = extra.apply(F.linear(flat, self.dequantize(hidden_states.dtype), self.bias))
        else:
            tokens = quantize_tokens(flat, self.weight_dtype) if tokens is None else tokens
            multiply = QUANTIZED_MATMULS[self.matmul]
            output = multiply(tokens, self.weight, self.scale, self.bias, hidden_states.dtype, extra)
        return output.unflatten(0, hidden_states.shape[:-1])

    def extra_repr(self) -> str:
        """Describe the layer in the model's ``repr``."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}, matmul={self.matmul}"


class Int8Linear(QuantizedLinear):
    """A linear layer with integer weights from -127 to 127."""

    precision = "int8"
    weight_dtype = torch.int8

    @classmethod
    def round(cls, values: torch.Tensor) -> torch.Tensor:
        """Round to the nearest integers, in place."""
        return values.round_().to(torch.int8)


class Fp8Linear(QuantizedLinear):
    """A linear layer with float8 weights: 4 bits of exponent and 3 of mantissa (e4m3)."""

    precision = "fp8"
    weight_dtype = torch.float8_e4m3fn


QUANTIZED_LINEARS: dict[str, type[QuantizedLinear]] = {
    layer.precision: layer for layer in (Int8Linear, Fp8Linear)
}


def quantize_linears(module: nn.Module, precision: str) -> None:
    """Replace the linear layers below a module by quantized ones, in place.

    Args:
        module: The module. Layers whose sizes are not multiples of 8 are kept.
        precision: "int8" or "fp8".

    Raises:
        ValueError: The precision is unknown.
    """
    if precision not in QUANTIZED_LINEARS:
        raise ValueError(f"quantization must be {' or '.join(QUANTIZED_LINEARS)}, not {precision!r}.")

    def replacement(linear: nn.Linear) -> nn.Module | None:
        if linear.in_features % SIZE_MULTIPLE or linear.out_features % SIZE_MULTIPLE:
            return None
        return QUANTIZED_LINEARS[precision].from_linear(linear)

    replace_linears(module, replacement)


def quantize_once(hidden_states: torch.Tensor, *layers: nn.Module) -> QuantizedTokens | None:
    """Quantize the common input ``B N C`` of layers for :func:`project`.

    Returns:
        None if the layers do not multiply in 8 bits. Also without kernels: rotating queries and keys takes
        more memory then, and keeping the result would raise the block's peak.
    """
    first = layers[0]
    if not isinstance(first, QuantizedLinear) or not first.multiplies(hidden_states):
        return None
    if not use_kernels(hidden_states):
        return None
    return quantize_tokens(hidden_states.flatten(0, -2), first.weight_dtype)


def project(layer: nn.Module, hidden_states: torch.Tensor, tokens: QuantizedTokens | None) -> torch.Tensor:
    """Run a linear layer on ``B N C``, which :func:`quantize_once` has quantized or not."""
    return layer(hidden_states) if tokens is None else layer(hidden_states, tokens)


def set_matmuls(
    module: nn.Module, device: torch.device, matmul: Matmul = "auto", minimal_rows: int = MINIMAL_ROWS
) -> None:
    """Choose the matrix product of every quantized layer below a module.

    Args:
        module: The model.
        device: Device that it will run on.
        matmul: "auto" multiplies in 8 bits if the device can, "dequantize" never does.
        minimal_rows: Number of tokens from which on the 8-bit kernel is used.
    """
    for layer in module.modules():
        if isinstance(layer, QuantizedLinear):
            sizes = (layer.in_features, layer.out_features)
            layer.matmul = choose_matmul(layer.precision, device, sizes, matmul)
            layer.minimal_rows = minimal_rows
