"""Linear layers with 8-bit weights: int8 or fp8, one factor per output row.

A layer multiplies in 8 bits where its device has a kernel for it and there are tokens enough to gain from it
(:mod:`multitalk.models.quantized_matmul`); elsewhere its weights are dequantized for the moment of the
product, to the dtype of its input. It never keeps a second copy of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from .linear import LowRankLayer, replace_linears
from .quantized_matmul import MINIMAL_ROWS, QUANTIZED_MATMULS, Matmul, choose_matmul

# A layer is quantized when both its sizes are multiples of this: kernels want it, and in a file no tensor
# after it lies at an odd address.
SIZE_MULTIPLE = 8
_SMALLEST_SCALE = 1e-12  # of a row of zeros
# for moving a tensor's bits without its dtype
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32}


class QuantizedLinear(LowRankLayer):
    """A linear layer with 8-bit weights.

    Its attributes are those of ``nn.Linear``, and `scale`. ``.to(dtype)`` doesn't cast weights and factors.

    Args:
        in_features, out_features: Multiples of 8.
        bias: Whether there is one.

    Attributes:
        weight: ``out_features in_features`` in 8 bits.
        scale: ``out_features 1`` float32: the weights are ``weight * scale``.
        bias: ``out_features`` or None.
        matmul: Name of the kernel that multiplies in 8 bits; None always dequantizes.
        minimal_rows: Tokens from which on it is used.
    """

    precision: ClassVar[str]
    weight_dtype: ClassVar[torch.dtype]
    largest: ClassVar[float]

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
        """Quantize a matrix, row by row.

        Args:
            weight: ``N K``, any float dtype, any device (the meta device, too).

        Returns:
            The 8-bit matrix, and the rows' factors ``N 1`` float32.
        """
        weight = weight.float()
        largest = torch.linalg.vector_norm(weight, ord=float("inf"), dim=1, keepdim=True)  # makes no copy
        scale = largest.div_(cls.largest).clamp_(min=_SMALLEST_SCALE)
        return cls.round(weight / scale), scale

    @classmethod
    def round(cls, values: torch.Tensor) -> torch.Tensor:
        """Float values, at most `largest` in size, as this layer's 8-bit numbers; may change them."""
        raise NotImplementedError

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> QuantizedLinear:
        """Quantize a layer; its bias is taken over."""
        with torch.device("meta"):
            layer = cls(linear.in_features, linear.out_features, linear.bias is not None)
        weight, scale = cls.quantize(linear.weight.detach())
        layer.weight = nn.Parameter(weight, requires_grad=False)
        layer.scale = nn.Parameter(scale, requires_grad=False)
        layer.bias = linear.bias
        return layer.train(linear.training)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """The weights ``N K`` in a dtype, multiplied in float32 and rounded once."""
        # every 8-bit number is exact in all dtypes; in place, so that nothing wider lies in memory
        return self.weight.to(dtype, copy=True).mul_(self.scale)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Project ``... in_features`` to ``... out_features``, in the input's dtype."""
        rows = hidden_states.numel() // self.in_features
        if self.matmul is None or rows < self.minimal_rows:
            output = F.linear(hidden_states, self.dequantize(hidden_states.dtype), self.bias)
        else:
            multiply = QUANTIZED_MATMULS[self.matmul]
            output = multiply(hidden_states.flatten(0, -2), self.weight, self.scale, self.bias)
            output = output.unflatten(0, hidden_states.shape[:-1])
        return self.add_low_rank(hidden_states, output)

    def extra_repr(self) -> str:
        """What a printed model shows of it."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}, matmul={self.matmul}"

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> QuantizedLinear:
        """Move the layer, but cast nothing that is quantized: ``model.to(bfloat16)`` means the others."""

        def apply(tensor: torch.Tensor) -> torch.Tensor:
            if tensor is self.weight or tensor is self.scale:
                return fn(tensor.view(_BITS[tensor.itemsize])).view(tensor.dtype)
            return fn(tensor)

        return super()._apply(apply, recurse)


class Int8Linear(QuantizedLinear):
    """Weights as whole numbers from -127 to 127."""

    precision = "int8"
    weight_dtype = torch.int8
    largest = 127.0

    @classmethod
    def round(cls, values: torch.Tensor) -> torch.Tensor:
        """To the nearest whole numbers."""
        return values.round_().to(torch.int8)


class Fp8Linear(QuantizedLinear):
    """Weights as 8-bit floats with 4 bits of exponent and 3 of mantissa (e4m3)."""

    precision = "fp8"
    weight_dtype = torch.float8_e4m3fn
    largest = 448.0

    @classmethod
    def round(cls, values: torch.Tensor) -> torch.Tensor:
        """To the nearest 8-bit floats."""
        return values.to(torch.float8_e4m3fn)


QUANTIZED_LINEARS: dict[str, type[QuantizedLinear]] = {
    layer.precision: layer for layer in (Int8Linear, Fp8Linear)
}


def quantize_linears(module: nn.Module, precision: str) -> None:
    """Replace the linear layers below a module by quantized ones, in place.

    Args:
        module: Layers whose sizes aren't multiples of 8 stay as they are.
        precision: "int8" or "fp8".

    Raises:
        ValueError: The precision is unknown.
    """
    if precision not in QUANTIZED_LINEARS:
        raise ValueError(f"quantization '{precision}' is unknown: use {' or '.join(QUANTIZED_LINEARS)}")

    def replacement(linear: nn.Linear) -> nn.Module | None:
        if linear.in_features % SIZE_MULTIPLE or linear.out_features % SIZE_MULTIPLE:
            return None
        return QUANTIZED_LINEARS[precision].from_linear(linear)

    replace_linears(module, replacement)


def set_matmuls(
    module: nn.Module, device: torch.device, matmul: Matmul = "auto", minimal_rows: int = MINIMAL_ROWS
) -> None:
    """Choose, for every quantized layer below a module, what multiplies on a device.

    Args:
        module: The model.
        device: Where it will compute.
        matmul: "auto" multiplies in 8 bits where the device can, "dequantize" nowhere.
        minimal_rows: Tokens from which on it does.
    """
    for layer in module.modules():
        if isinstance(layer, QuantizedLinear):
            sizes = (layer.in_features, layer.out_features)
            layer.matmul = choose_matmul(layer.precision, device, sizes, matmul)
            layer.minimal_rows = minimal_rows
