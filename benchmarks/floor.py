"""The floor of a stage: its matrix products, convolutions and attentions alone, at the same shapes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

# ATen's names, by their beginnings; composite ones (linear, conv3d) come whole in inference mode
_PRODUCTS = (
    "linear",
    "matmul",
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "conv",
    "mkldnn_convolution",
    "scaled_dot_product",
    "_scaled_dot_product",
)


@dataclass(frozen=True)
class _Operand:
    """A tensor's layout, to make another of the same kind."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def make(self) -> torch.Tensor:
        extent = 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        memory = torch.randn(extent, device=self.device)
        memory = memory.to(self.dtype) if self.dtype.is_floating_point else memory.abs().to(self.dtype)
        return memory.as_strided(self.shape, self.stride)  # expanded dimensions included


class _Recorder(TorchDispatchMode):
    """Notes the products that a function runs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple, dict]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket.__name__.startswith(_PRODUCTS):
            self.calls.append((func, tree_map(_layout, args), tree_map(_layout, kwargs)))
        return func(*args, **kwargs)


def _layout(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    if isinstance(value, torch.nn.Parameter):
        return value  # weights come from memory, as they do in the stage
    return _Operand(tuple(value.shape), tuple(value.stride()), value.dtype, value.device)


def _made(value: Any) -> Any:
    return value.make() if isinstance(value, _Operand) else value


def _timed(run: Callable[[], Any]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _replay(calls: list[tuple[Any, tuple, dict]]) -> float:
    total = 0.0
    for func, args, kwargs in calls:
        made_args, made_kwargs = tree_map(_made, args), tree_map(_made, kwargs)
        total += _timed(lambda: func(*made_args, **made_kwargs))  # noqa: B023 - called at once
    return total


def measure(stage: Callable[[], Any], repeats: int = 3) -> tuple[float, float]:
    """Seconds of a stage and of its floor: medians of runs that take turns, after a warm-up of each."""
    with torch.inference_mode():
        stage()
        with _Recorder() as recorder:
            stage()
        _replay(recorder.calls)
        pairs = [(_timed(stage), _replay(recorder.calls)) for _ in range(repeats)]
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
