"""Attention backends: diffusers' dispatcher, the kernels it doesn't know, and trying them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _check_attention_backend_requirements,
    _templated_context_parallel_attention,
    dispatch_attention_fn,
)

# A probe's shapes: as many channels as a head of the model has, tokens that no block size divides.
_PROBE_SHAPE = (1, 333, 2, 128)
# Largest difference from exact attention that a probe accepts, in units of the result's own size:
# SageAttention is off by some hundredths, a wrong kernel by one or more.
_PROBE_TOLERANCE = 0.15

Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _sage_fp8_fp32(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    from sageattention import sageattn_qk_int8_pv_fp8_cuda

    return sageattn_qk_int8_pv_fp8_cuda(query, key, value, tensor_layout="NHD", pv_accum_dtype="fp32+fp32")


def _sage_fp16_fp32(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    from sageattention import sageattn_qk_int8_pv_fp16_cuda

    return sageattn_qk_int8_pv_fp16_cuda(query, key, value, tensor_layout="NHD", pv_accum_dtype="fp32")


# Kernels that diffusers has no name for, or calls with sums that crash (its names are an enumeration, which
# can't be added to). Each takes and returns B N H D.
OWN_KERNELS: dict[str, Kernel] = {"sage_fp8_fp32": _sage_fp8_fp32, "sage_fp16_fp32": _sage_fp16_fp32}

# torch's own choice of kernel, which the compiler knows
_NATIVE = AttentionBackendName.NATIVE.value


# With a schema in words: torch 2.5 reads none from annotations that are strings.
@torch.library.custom_op(
    "multitalk::attend",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, str backend) -> Tensor",
)
def _opaque_attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, backend: str) -> torch.Tensor:
    """Attention by a backend, as one operation that the compiler doesn't look into.

    Kernels can't be traced: diffusers chooses torch's own by a context manager, SageAttention's keep the
    compiler out. For a block, which may have no break in it, they would be one.
    """
    return attend(query, key, value, backend).contiguous()


@_opaque_attend.register_fake
def _attend_shape(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, backend: str) -> torch.Tensor:
    return query.new_empty(*query.shape[:3], value.shape[3])


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    backend: str | None = None,
    parallel_config: Any = None,
) -> torch.Tensor:
    """Attention by a backend.

    Args:
        query: ``B N H D``.
        key: ``B M H D``.
        value: ``B M H D``.
        backend: A name of `OWN_KERNELS` or of diffusers' dispatcher; None is diffusers' default.
        parallel_config: diffusers', where the tokens are spread over several GPUs.

    Returns:
        ``B N H D``.
    """
    if backend not in (None, _NATIVE) and parallel_config is None and torch.compiler.is_compiling():
        return torch.ops.multitalk.attend(query, key, value, backend)
    kernel = None if backend is None else OWN_KERNELS.get(backend)
    if kernel is None:
        return dispatch_attention_fn(query, key, value, backend=backend, parallel_config=parallel_config)
    if parallel_config is None:
        return kernel(query, key, value)

    def forward(ctx: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        return kernel(query, key, value)

    return _templated_context_parallel_attention(
        query, key, value, None, 0.0, False, None, False, False,
        forward_op=forward, backward_op=None, _parallel_config=parallel_config,
    )  # fmt: skip


def set_attention_backends(transformer: Any, self_attention: str, cross_attention: str) -> None:
    """Choose the backends of a transformer's processors.

    diffusers' ``set_attention_backend`` would also change what every other model of the process uses.

    Args:
        transformer: Its blocks have ``attn1`` (self-attention), ``attn2`` and ``audio_attn``.
        self_attention: Name of the backend over all of a clip's tokens.
        cross_attention: Name of the backend for text, picture and sound.

    Raises:
        ValueError: There is no such backend.
        RuntimeError: Its package isn't installed.
    """
    for name in (self_attention, cross_attention):
        _require(name)
    # plain strings: what torch 2.5 compiles makes no member of an enumeration from another one
    for block in transformer.blocks:
        block.attn1.processor._attention_backend = self_attention
        block.attn2.processor._attention_backend = cross_attention
        block.audio_attn.processor._attention_backend = cross_attention


def first_working(names: Iterable[str], device: torch.device, dtype: torch.dtype, notes: list[str]) -> str:
    """The first backend that computes something right on a device.

    Args:
        names: Backends that the GPU can run by its data sheet, best first; one that would crash isn't among
            them (`multitalk.runtime.attention`).
        device: Where.
        dtype: Of the tensors.
        notes: Gets a sentence for every backend that failed before.

    Returns:
        Its name; "native" where all fail, since a job's own error says more than a probe's.
    """
    for name in dict.fromkeys(names):
        problem = probe(name, device, dtype)
        if problem is None:
            return name
        notes.append(f"attention backend {name} doesn't work here and isn't used: {problem}.")
    return "native"


@torch.no_grad()
def probe(name: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Try a backend on a small input; returns what is wrong, or None."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(_PROBE_SHAPE, generator=generator) for _ in range(3))
    exact = dispatch_attention_fn(query, key, value, backend=AttentionBackendName.NATIVE)
    try:
        _require(name)
        query, key, value = (part.to(device, dtype) for part in (query, key, value))
        result = attend(query, key, value, name).float().cpu()
    except Exception as error:  # a kernel fails in whatever way its author thought of
        return " ".join(f"{type(error).__name__}: {error}".split())[:160].rstrip(".")
    difference = ((result - exact).norm() / exact.norm()).item()
    if not difference <= _PROBE_TOLERANCE:
        return f"its result is off by {difference:.2f} of its size"
    return None


def _require(name: str) -> None:
    """Raise where a backend is unknown or its package absent."""
    if name not in OWN_KERNELS:
        _check_attention_backend_requirements(AttentionBackendName(name))
