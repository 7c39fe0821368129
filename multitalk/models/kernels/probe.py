"""Compare every kernel with its PyTorch form on a device."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from diffusers.models.normalization import FP32LayerNorm
from torch import nn

from ..constants import BFLOAT16_CAPABILITY, FP8_CAPABILITY
from ..half import residual_dtype
from ..norms import Modulation, add_and_normalize, add_residual, normalize
from ..quantized_matmul import Extra, finish_product, finish_scaled, quantize_tokens
from ..rotary import normalize_and_rotate, rotate_by_label
from .dispatch import forced

# Larger than a tile and no multiple of one
_ROWS = 333
_RANK = 20
# Largest accepted L2 error, relative to the PyTorch form: a wrong kernel is off by one or more, a rounding of
# bfloat16 by 0.002, and one of e4m3 by 0.03.
_TOLERANCE = 0.05
EIGHT_BITS = (torch.int8, torch.float8_e4m3fn)


@dataclass(frozen=True)
class Widths:
    """Widths of a transformer. The default ones are the published model's, whose kernels the image contains.

    Attributes:
        heads, head_dim: Attention heads and their width.
        ffn_dim: Width of the feed-forward's hidden layer.
        audio_dim: Width of an audio token.
    """

    heads: int = 40
    head_dim: int = 128
    ffn_dim: int = 13824
    audio_dim: int = 768

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.heads * self.head_dim


PUBLISHED = Widths()
Case = Callable[[], tuple[torch.Tensor, ...]]


def probe(device: torch.device, widths: Widths = PUBLISHED) -> str | None:
    """Run every kernel that a device needs; return what is wrong, or None."""
    try:
        capability = torch.cuda.get_device_capability(device)
        dtype = torch.bfloat16 if capability >= BFLOAT16_CAPABILITY else torch.float16
        with torch.inference_mode():
            for name, case in cases(device, dtype, widths, fp8=capability >= FP8_CAPABILITY):
                for difference in errors_of(case):
                    if not difference <= _TOLERANCE:
                        return f"the relative error of {name} is {difference:.2f}"
    except Exception as error:  # a kernel can raise anything
        return " ".join(f"{type(error).__name__}: {error}".split())[:160].rstrip(".")
    return None


def errors_of(case: Case) -> list[float]:
    """Return the L2 error of each result of a kernel, relative to that of its PyTorch form."""
    with forced(True):
        results = case()
    with forced(False):
        expected = case()
    return [
        ((result.float() - reference.float()).norm() / reference.float().norm()).item()
        for result, reference in zip(results, expected, strict=True)
    ]


def cases(
    device: torch.device, dtype: torch.dtype, widths: Widths, fp8: bool, rows: int = _ROWS
) -> Iterator[tuple[str, Case]]:
    """Yield a name and a function for every kernel; the function runs the kernel or its PyTorch form."""
    dim, heads = widths.dim, widths.heads
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int, dtype: torch.dtype = dtype) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    residual = residual_dtype(dtype)
    tokens, hidden, update = (random(1, rows, dim, dtype=kind) for kind in (dtype, residual, residual))
    gate, scale, shift = (random(1, 1, dim, dtype=torch.float32) for _ in range(3))
    modulation = Modulation(scale, shift, 1e-6)
    with torch.device(device):
        layer_norm, rms_norm = FP32LayerNorm(dim, 1e-6), nn.RMSNorm(dim, 1e-6, dtype=dtype)
    yield "the modulated norm", lambda: (normalize(hidden, modulation, dtype),)
    yield "the gated residual", lambda: (add_residual(hidden, update, gate),)
    for kind, by, norm in (
        ("a gated residual and a norm", gate, layer_norm),
        ("a residual and a norm", None, layer_norm),
        ("a residual and a modulated norm", None, modulation),
    ):
        yield kind, lambda by=by, norm=norm: _both(*add_and_normalize(hidden, update, by, norm, dtype))  # type: ignore[misc]
    angles = random(1, rows, 1, widths.head_dim // 2, dtype=torch.float32)
    table = angles.cos(), angles.sin()
    labels = random(1, rows, dtype=torch.float32).abs() * 12
    yield "RMSNorm", lambda: (normalize_and_rotate(tokens, rms_norm, heads),)
    yield "RMSNorm and RoPE", lambda: (normalize_and_rotate(tokens, rms_norm, heads, table),)
    yield "label RoPE", lambda: (rotate_by_label(tokens.unflatten(-1, (heads, -1)), labels),)
    for width, to in itertools.product((dim, widths.ffn_dim, widths.audio_dim), EIGHT_BITS[: 1 + fp8]):
        wide = random(rows, width)
        yield f"quantization to {to}", lambda wide=wide, to=to: _restored(wide, to)  # type: ignore[misc]
    sums = random(rows, dim, dtype=torch.float32) * 1000
    token_scale, row_scale = (random(size, 1, dtype=torch.float32).abs() / 1000 for size in (rows, dim))
    bias = tokens[0, 0]
    extras = extras_for(random(rows, _RANK), random(dim, _RANK))
    for product, extra in itertools.product([sums.int(), sums.bfloat16()][: 1 + fp8], extras):

        def finished(product: torch.Tensor = product, extra: Extra = extra) -> tuple[torch.Tensor, ...]:
            return (finish_product(product.__getitem__, token_scale, row_scale, bias, dtype, extra),)

        yield f"the epilogue of products in {product.dtype}", finished
    scaled = tokens[0]
    for extra in extras[1:] if fp8 else ():
        yield "the epilogue of scaled products", lambda extra=extra: (finish_scaled(scaled, dtype, extra),)  # type: ignore[misc]


def extras_for(inner: torch.Tensor, up: torch.Tensor) -> list[Extra]:
    """Return every combination of a LoRA and GELU; the first one is empty."""
    return [Extra(), Extra(inner, up), Extra(gelu=True), Extra(inner, up, gelu=True)]


def _both(summed: torch.Tensor, norm: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return summed, norm()


def _restored(tokens: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Quantize tokens and return what they stand for, and their scales."""
    values, scale = quantize_tokens(tokens, dtype)
    return values.float() * scale, scale
