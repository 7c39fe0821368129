"""The lower bound of a computation: its counted operations and bytes, at the measured speed of the device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..models.matmul_choice import choose_matmul
from ..patches.torch import fp8_product, int8_product

# Sides of the square matrices and bytes of a copy: large enough to reach the device's peak.
SIDE = {"cuda": 8192, "cpu": 1024}
COPY = {"cuda": 1 << 30, "cpu": 1 << 27}
REPEATS = {"cuda": 20, "cpu": 5}


@dataclass(frozen=True)
class Peaks:
    """Measured peak throughput of a device, the best of several runs.

    Attributes:
        matmul: Operations per second of matrix products, by precision: "float32", "bf16", "int8", ...
        copy: Bytes per second, read and written, of a copy within the device's memory.
        upload: Bytes per second from page-locked host memory to the device; None on a CPU.
    """

    matmul: dict[str, float]
    copy: float
    upload: float | None


def measure_peaks(device: torch.device, dtype: torch.dtype, precision: str) -> Peaks:
    """Measure a device.

    Args:
        device: The device.
        dtype: Dtype of the model's activations.
        precision: Precision of the transformer's weights; "int8" and "fp8" are measured in addition to
            `dtype` if the device multiplies them.
    """
    side = SIDE[device.type]
    label = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "float32")
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    matmul = {label: 2 * side**3 / fastest(lambda: left @ right, device)}
    if (kernel := choose_matmul(precision, device, (side, side))) is not None:
        matmul[precision] = 2 * side**3 / fastest(_eight_bit_product(kernel, side, device), device)
    source = torch.empty(COPY[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = 2 * source.numel() / fastest(lambda: target.copy_(source), device)
    upload = None
    if device.type == "cuda":
        host = torch.empty(source.numel(), dtype=torch.uint8, pin_memory=True)
        upload = source.numel() / fastest(lambda: target.copy_(host, non_blocking=True), device)
    return Peaks(matmul, copy, upload)


def fastest(run: Callable[[], object], device: torch.device, repeats: int | None = None) -> float:
    """Return the seconds of the fastest of several runs, after two warm-up runs."""
    repeats = REPEATS[device.type] if repeats is None else repeats
    return min([timed(run, device) for _ in range(repeats + 2)][2:])


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a run, including the device's work."""
    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    """Wait for the work that is queued on a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _eight_bit_product(kernel: str, side: int, device: torch.device) -> Callable[[], object]:
    """Return the product of 8-bit matrices, without quantizing activations."""
    if kernel.startswith("int8"):
        left, right = (torch.randint(-127, 127, (side, side), device=device).to(torch.int8) for _ in range(2))
        return lambda: int8_product(left, right)
    left, right = (torch.randn(side, side, device=device).to(torch.float8_e4m3fn) for _ in range(2))
    one = torch.ones((), device=device)
    return lambda: fp8_product(left, right, one, one, torch.bfloat16)


@dataclass
class Work:
    """Counted work.

    Attributes:
        operations: Operations of matrix products, convolutions and attentions; a multiply-add counts as two.
        bytes: Bytes read and written by all operations, each counted alone; fused kernels move less.
    """

    operations: int = 0
    bytes: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.bytes + other.bytes)

    def __mul__(self, times: int) -> Work:
        return Work(self.operations * times, self.bytes * times)


class Counter(TorchDispatchMode):
    """Count the work of the operations that run inside.

    Kernels outside PyTorch (flash-attn, SageAttention) and compiled code are not seen: count with PyTorch's
    own attention, before compiling.
    """

    def __init__(self) -> None:
        super().__init__()
        self.work = Work()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.work.operations += operations(name, args, result)
        self.work.bytes += _moved_bytes(name, (args, kwargs), result)
        return result


def operations(name: str, args: tuple[Any, ...], result: Any) -> int:
    """Count the operations of a call; 0 if it is no product.

    Args:
        name: Name in ATen, such as "linear"; composite operations are seen whole in inference mode.
        args: Positional arguments.
        result: The result.
    """
    if name.startswith(("scaled_dot_product", "_scaled_dot_product")):
        query, key, value = args[:3]
        return 2 * math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    if name == "linear":
        return 2 * args[0].numel() * args[1].shape[0]
    if name.startswith(("conv", "mkldnn_convolution")):
        output = result if isinstance(result, torch.Tensor) else result[0]
        return 2 * output.numel() * args[1][0].numel()
    if name in ("mm", "bmm", "_int_mm", "_scaled_mm", "matmul"):
        return 2 * result.numel() * args[0].shape[-1]
    if name == "eight_bit_product":
        low_rank = 0 if args[5] is None else args[5].shape[-1]
        return 2 * result.numel() * (args[0].shape[-1] + low_rank)
    if name in ("addmm", "addmm_", "baddbmm", "addbmm"):
        return 2 * result.numel() * args[1].shape[-1]
    return 0


# They write without reading, and allocate without writing.
_FILLING = ("copy_", "fill_", "zero_")
_EMPTY = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")


def _moved_bytes(name: str, inputs: Any, result: Any) -> int:
    """Count the bytes that a call reads and writes; 0 if it only allocates, or returns a view of an input."""
    if name in _EMPTY:
        return 0
    read = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
    written = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    storages = {tensor.untyped_storage()._cdata for tensor in read}
    if not name.endswith("_") and any(tensor.untyped_storage()._cdata in storages for tensor in written):
        return 0
    if name in _FILLING:
        read = read[1:]
    elif name == "type_as":
        read = read[:1]
    return sum(map(_bytes, (*read, *written)))


def _bytes(tensor: torch.Tensor) -> int:
    """Return the size of what a tensor refers to; an expanded dimension is one value in memory."""
    sizes = (size if stride else 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return math.prod(sizes) * tensor.element_size()
