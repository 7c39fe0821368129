"""Attention backends: diffusers' dispatcher, kernels that it lacks, and probing them on a device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

from ..patches.diffusers import require_attention_backend
from .constants import probed_tokens

logger = logging.getLogger(__name__)

# Heads of a probe, and the width of the model's heads.
_PROBE_HEADS, _PROBE_WIDTH = 2, 128
# Queries whose result is compared, at both ends and in between.
_PROBE_QUERIES = 64
# Largest accepted L2 error of a probe, relative to the exact result: SageAttention is off by a few
# hundredths, a wrong kernel by one or more.
_PROBE_TOLERANCE = 0.15

Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _sage_fp8_fp32(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    from sageattention import sageattn_qk_int8_pv_fp8_cuda

    return sageattn_qk_int8_pv_fp8_cuda(query, key, value, tensor_layout="NHD", pv_accum_dtype="fp32+fp32")


def _sage_fp16_fp32(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    from sageattention import sageattn_qk_int8_pv_fp16_cuda

    return sageattn_qk_int8_pv_fp16_cuda(query, key, value, tensor_layout="NHD", pv_accum_dtype="fp32")


def _sage_3(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    from sageattn3 import sageattn3_blackwell

    # B H N D; copies, because it subtracts the mean of the keys in place
    return sageattn3_blackwell(
        *(part.transpose(1, 2).contiguous() for part in (query, key, value))
    ).transpose(1, 2)


def _flash_4(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    from flash_attn.cute import flash_attn_func

    result = flash_attn_func(query, key, value)
    return result[0] if isinstance(result, tuple) else result  # with the log-sum-exp, in some versions


# Kernels that diffusers does not list, runs with an accumulator that crashes, or downloads at their first
# use; its list is an enumeration that cannot be extended. They take and return B N H D.
EXTRA_KERNELS: dict[str, Kernel] = {
    "sage_fp8_fp32": _sage_fp8_fp32,
    "sage_fp16_fp32": _sage_fp16_fp32,
    "sage_3": _sage_3,
    "flash_4": _flash_4,
}

# Backends that worked in their probe and failed later, in this process.
_failed: set[str] = set()

# torch's choice of kernel, the only backend that the compiler can trace
_NATIVE = AttentionBackendName.NATIVE.value


# The schema is a string: torch 2.5 cannot infer it from postponed annotations.
@torch.library.custom_op(
    "multitalk::attend",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, str backend) -> Tensor",
)
def _opaque_attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, backend: str) -> torch.Tensor:
    """Run an attention backend as one operation that the compiler does not trace.

    diffusers selects torch's kernels with a context manager, and SageAttention disables the compiler: both
    would break a block's graph.
    """
    return attend(query, key, value, backend).contiguous()


@_opaque_attend.register_fake
def _attend_shape(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, backend: str) -> torch.Tensor:
    return query.new_empty(*query.shape[:3], value.shape[3])


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, backend: str | None = None
) -> torch.Tensor:
    """Compute attention with a backend, and without it once it has failed.

    Args:
        query: ``B N H D``.
        key: ``B M H D``.
        value: ``B M H D``.
        backend: A name in `EXTRA_KERNELS` or of diffusers' dispatcher; None uses diffusers' default.

    Returns:
        ``B N H D``.
    """
    if backend in (None, _NATIVE):
        return dispatch_attention_fn(query, key, value, backend=backend)
    if torch.compiler.is_compiling():
        return torch.ops.multitalk.attend(query, key, value, backend)
    if backend not in _failed:
        try:
            kernel = EXTRA_KERNELS.get(backend)
            if kernel is not None:
                return kernel(query, key, value)
            return dispatch_attention_fn(query, key, value, backend=backend)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a kernel can raise anything
            _failed.add(backend)
            logger.warning("Attention backend %s failed, native is used: %s.", backend, _one_line(error))
    return dispatch_attention_fn(query, key, value, backend=_NATIVE)


def set_attention_backends(transformer: Any, self_attention: str, cross_attention: str) -> None:
    """Set the attention backends of a transformer.

    diffusers' ``set_attention_backend`` would also change the default backend of the whole process.

    Args:
        transformer: Its blocks have ``attn1`` (self-attention), ``attn2`` and ``audio_attn``.
        self_attention: Backend for the attention over all tokens of a clip.
        cross_attention: Backend for the attention to text, image and audio.

    Raises:
        ValueError: A backend does not exist.
        RuntimeError: Its package is not installed.
    """
    for name in (self_attention, cross_attention):
        _require(name)
    # strings, because torch 2.5 cannot compile the lookup of an enumeration's member
    for block in transformer.blocks:
        block.attn1.processor._attention_backend = self_attention
        block.attn2.processor._attention_backend = cross_attention
        block.audio_attn.attention_backend = cross_attention


def first_working(names: Iterable[str], device: torch.device, dtype: torch.dtype, notes: list[str]) -> str:
    """Return the first backend that computes correct results on a device.

    Args:
        names: Backends to probe, best first. Those that would crash on this GPU must be left out
            (`multitalk.runtime.attention`).
        device: Device to probe on.
        dtype: Dtype of queries, keys and values.
        notes: Gets one sentence for each backend that failed.

    Returns:
        Name of the backend; "native" if all fail, because the error of a job says more than that of a probe.
    """
    for name in dict.fromkeys(names):
        problem = probe(name, device, dtype)
        if problem is None:
            return name
        notes.append(f"attention backend {name} does not work on this machine and is not used: {problem}.")
    return "native"


@torch.no_grad()
def probe(name: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Run a backend on a few tokens, and on a GPU on a clip's; return what is wrong with it, or None."""
    try:
        _require(name)
    except (RuntimeError, ValueError) as error:
        return _one_line(error)
    lengths = probed_tokens(device.type)
    return next(filter(None, (_problem(name, tokens, device, dtype) for tokens in lengths)), None)


def _problem(name: str, tokens: int, device: torch.device, dtype: torch.dtype) -> str | None:
    try:
        difference = probe_error(name, tokens, device, dtype)
    except Exception as error:  # a kernel can raise anything
        return _one_line(error)
    if not difference <= _PROBE_TOLERANCE:
        return f"its relative error is {difference:.2f}"
    return None


@torch.no_grad()
def probe_error(name: str, tokens: int, device: torch.device, dtype: torch.dtype) -> float:
    """Return the L2 error of a backend, relative to exact attention, at some of this many queries."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, tokens, _PROBE_HEADS, _PROBE_WIDTH)
    query, key, value = (torch.randn(shape, generator=generator) for _ in range(3))
    compared = torch.linspace(0, tokens - 1, _PROBE_QUERIES).long()
    exact = dispatch_attention_fn(query[:, compared], key, value, backend=AttentionBackendName.NATIVE)
    kernel = EXTRA_KERNELS.get(name) or partial(dispatch_attention_fn, backend=name)
    result = kernel(*(part.to(device, dtype) for part in (query, key, value)))
    return ((result[:, compared.to(device)].float().cpu() - exact).norm() / exact.norm()).item()


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160].rstrip(".")


def _require(name: str) -> None:
    if name not in EXTRA_KERNELS:
        require_attention_backend(name)
