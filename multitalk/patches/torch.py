"""Uses of PyTorch's private operations and methods."""

from __future__ import annotations

import contextlib
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import nn

PINNED = {"torch": ("2.5.1", "2.8.0", "2.13.0")}

# Integer dtypes that hold the bits of a tensor while it is moved without its dtype.
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32}


class FixedDtypeModule(nn.Module):
    """A module some of whose parameters keep their dtype when the module is cast.

    Attributes:
        fixed_dtype: Names of these parameters.
    """

    fixed_dtype: ClassVar[tuple[str, ...]] = ()

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        """Move the module; ``.to(dtype)`` casts only its other parameters."""
        fixed = [getattr(self, name) for name in self.fixed_dtype]

        def apply(tensor: torch.Tensor) -> torch.Tensor:
            if any(tensor is parameter for parameter in fixed):
                return fn(tensor.view(_BITS[tensor.itemsize])).view(tensor.dtype)
            return fn(tensor)

        return super()._apply(apply, recurse)


def int8_product(tokens: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Multiply int8 matrices ``M K`` and ``N K``: exact int32 sums ``M N``."""
    return torch._int_mm(tokens, weight.t())


def fp8_product(
    tokens: torch.Tensor,
    weight: torch.Tensor,
    token_scale: torch.Tensor,
    scale: torch.Tensor,
    dtype: torch.dtype,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Multiply e4m3 matrices ``M K`` and ``N K`` and their scales.

    Args:
        tokens: ``M K``.
        weight: ``N K``.
        token_scale: One float32 value, or ``M 1``: one per token (needs compute capability 9.0).
        scale: One float32 value, or ``1 N``: one per output row.
        dtype: Dtype of the result.
        bias: ``N`` or None.
    """
    return torch._scaled_mm(
        tokens,
        weight.t(),
        scale_a=token_scale,
        scale_b=scale,
        bias=bias,
        out_dtype=dtype,
        use_fast_accum=True,
    )


def newest_architecture() -> int | None:
    """Return the highest compute capability that torch is built for, 90 for 9.0; None for a CPU build."""
    flags = torch._C._cuda_getArchFlags() if torch.version.cuda else None
    numbers = [flag.removeprefix("sm_").rstrip("af") for flag in (flags or "").split()]
    return max((int(number) for number in numbers if number.isdigit()), default=None)


def weight_norm(directions: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Give every slice of the last dimension of a weight its length.

    Args:
        directions: ``O I K``.
        lengths: ``1 1 K``.
    """
    return torch._weight_norm(directions, lengths, 2)


def use_onednn(module: nn.Module) -> None:
    """Run every float32 3-D convolution of a module in oneDNN when it is on a CPU.

    PyTorch uses oneDNN for large inputs only. It unrolls small ones into a matrix 27 times their size, which
    is several times slower; a small autoencoder has only small inputs.

    Args:
        module: Its convolutions are changed in place. Weights are unchanged, results equal up to rounding.
    """
    if not torch.backends.mkldnn.is_available():
        return
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d):
            layer._conv_forward = types.MethodType(_onednn_forward, layer)  # type: ignore[method-assign]


def _onednn_forward(
    layer: nn.Conv3d, hidden_states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    if hidden_states.device.type != "cpu" or hidden_states.dtype != torch.float32:
        return nn.Conv3d._conv_forward(layer, hidden_states, weight, bias)
    return torch.ops.aten.mkldnn_convolution(
        hidden_states, weight, bias, layer.padding, layer.stride, layer.dilation, layer.groups
    )


def raise_recompile_limits(count: int) -> None:
    """Let torch compile one function at least this many times; the option's name depends on the version."""
    config = torch._dynamo.config
    for name in ("recompile_limit", "cache_size_limit"):
        for limit in (name, f"accumulated_{name}"):
            if hasattr(config, limit):
                setattr(config, limit, max(count, getattr(config, limit)))


def is_default_compile_cache(folder: str) -> bool:
    """Return whether a folder for compiled kernels is one that torch chooses by default."""
    return folder.startswith(str(Path(tempfile.gettempdir()) / "torchinductor_"))


def default_store() -> dist.Store:
    """Return the store that connects the processes of the default group."""
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def abort_calls(group: dist.ProcessGroup, device: torch.device) -> None:
    """Abort the calls of a group that wait for other processes."""
    backend = group._get_backend(device)
    # torch 2.5 has other names than later versions, and for NCCL only
    for name in ("abort", "_shutdown"):
        if hasattr(backend, name):
            with contextlib.suppress(RuntimeError):
                getattr(backend, name)()
            break
