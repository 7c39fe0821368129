"""What a stage computes and moves: counted from the operations it runs, not estimated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Operands = tuple[Any, ...]


@dataclass
class Work:
    """What some operations add up to.

    Attributes:
        operations: Floating-point (or 8-bit integer) operations of matrix products, convolutions and
            attentions; a multiplication with its addition counts as two.
        bytes: Read and written by all operations, each taken alone: kernels that do several at once move
            less.
    """

    operations: int = 0
    bytes: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.bytes + other.bytes)

    def __mul__(self, times: int) -> Work:
        return Work(self.operations * times, self.bytes * times)


class Counter(TorchDispatchMode):
    """Counts the work of the operations that run while it is entered.

    Kernels outside torch (flash-attn, SageAttention) and compiled code are invisible to it: count with
    PyTorch's own attention, before anything is compiled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.work = Work()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.work.operations += operations(name, args, result)
        self.work.bytes += _moved(name, (args, kwargs), result)
        return result


def operations(name: str, args: Operands, result: Any) -> int:
    """Operations of a call by its name in ATen; 0 for what is no product.

    Args:
        name: Such as "linear"; composite operations come whole in inference mode.
        args: Its positional arguments.
        result: What it returned.
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
    if name in ("addmm", "addmm_", "baddbmm", "addbmm"):
        return 2 * result.numel() * args[1].shape[-1]
    return 0


def _moved(name: str, inputs: Any, result: Any) -> int:
    """Bytes that a call reads and writes; 0 where its result is a view of its input."""
    read = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
    written = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    places = {tensor.untyped_storage()._cdata for tensor in read}
    if not name.endswith("_") and any(tensor.untyped_storage()._cdata in places for tensor in written):
        return 0
    return sum(tensor.numel() * tensor.element_size() for tensor in (*read, *written))
