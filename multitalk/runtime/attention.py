"""Attention backends: which ones a GPU can run, and in which order they are tried.

A backend is chosen by what the GPU can run, not by what can be imported: SageAttention can be imported on a
T4 but fails there, and its default kernel for the RTX 4090 crashes if it was built with CUDA before 12.8.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidInput
from .machine import Machine

NATIVE = "native"


@dataclass(frozen=True)
class AttentionBackend:
    """An attention backend that can be chosen.

    Attributes:
        name: Name in settings, and in diffusers' dispatcher or :mod:`multitalk.models.attention_backends`.
        package: Package that it needs; None for torch's backends.
        capability: Lowest compute capability.
        exact: Whether it differs from exact attention only by rounding; the others quantize.
        description: Short description for people.
    """

    name: str
    package: str | None
    capability: tuple[int, int]
    exact: bool
    description: str


# Add a line here for another backend; see CONTRIBUTING.md.
BACKENDS: dict[str, AttentionBackend] = {
    backend.name: backend
    for backend in (
        AttentionBackend(NATIVE, None, (5, 0), True, "torch's choice"),
        AttentionBackend("_native_cudnn", None, (8, 0), True, "cuDNN"),
        AttentionBackend("_native_flash", None, (8, 0), True, "torch's FlashAttention 2"),
        AttentionBackend("_native_efficient", None, (5, 0), True, "torch's memory-efficient kernel"),
        AttentionBackend("flash", "flash_attn", (8, 0), True, "flash-attn 2"),
        AttentionBackend("sage", "sageattention", (8, 0), False, "SageAttention, its choice of kernel"),
        AttentionBackend(
            "sage_fp8_fp32", "sageattention", (8, 9), False, "SageAttention, fp8 values, fp32+fp32 sums"
        ),
        AttentionBackend(
            "sage_fp16_fp32", "sageattention", (8, 0), False, "SageAttention, fp16 values, fp32 sums"
        ),
        AttentionBackend("_flash_3", "flash_attn_interface", (9, 0), True, "FlashAttention 3"),
        AttentionBackend("flash_4", "flash_attn.cute", (9, 0), True, "FlashAttention 4"),
        AttentionBackend("sage_3", "sageattn3", (10, 0), False, "SageAttention 3, 4-bit products"),
    )
}

# SageAttention's default kernel for 8.9 and 12.0 accumulates in fp32+fp16, which needs this CUDA version.
FAST_SAGE_CUDA = (12, 8)
HOPPER = 9  # the major compute capability


def refusal(name: str, machine: Machine) -> str | None:
    """Return why a machine cannot run a backend, as a clause for a message; None if it can.

    Raises:
        InvalidInput: The backend is unknown.
    """
    backend = BACKENDS.get(name)
    if backend is None:
        raise InvalidInput(f"attention must be one of {', '.join(BACKENDS)}, not {name!r}.", "attention")
    if machine.gpu is None:
        return None if name == NATIVE else "requires a GPU"
    capability = machine.gpu.capability
    if capability < backend.capability:
        minimum, actual = (".".join(map(str, version)) for version in (backend.capability, capability))
        return f"requires compute capability {minimum} (this GPU has {actual})"
    if name == "_flash_3" and capability[0] != HOPPER:
        return "runs on compute capability 9 only, use flash_4"
    if backend.package is not None and not machine.has(backend.package):
        return f"requires the package {backend.package}, which is not installed"
    if name == "sage" and capability in ((8, 9), (12, 0)) and (machine.cuda or (0, 0)) < FAST_SAGE_CUDA:
        return "crashes on this GPU with CUDA before 12.8, use sage_fp8_fp32"
    if name == "sage_fp8_fp32" and capability == (9, 0):
        return "has no kernel for compute capability 9.0, use sage"
    return None


def preferred(capability: tuple[int, int]) -> tuple[str, ...]:
    """Return the self-attention backends for a compute capability, best first.

    Exact kernels come first on GPUs that run them fast. Consumer GPUs run 16-bit products with float32
    accumulation at half rate, so SageAttention's 8-bit products are preferred there. These orders have not
    been measured. The newest kernels come after torch's own, which always works: they are used if a setting
    asks for them, until a measurement puts them first.
    """
    if capability < (8, 0):
        # no flash kernel runs below 8.0, and torch's fallback would allocate the whole N x N matrix
        return ("_native_efficient",)
    if capability in ((8, 9), (12, 0)):
        new = ("flash_4", "sage_3") if capability[0] > HOPPER else ()
        return ("sage", "sage_fp8_fp32", "flash", "_native_flash", NATIVE, *new)
    if capability >= (9, 0):
        new = ("_flash_3", "flash_4") if capability[0] == HOPPER else ("flash_4", "sage_3")
        return ("_native_cudnn", "flash", "_native_flash", NATIVE, *new)
    return ("flash", "_native_flash", NATIVE)


def candidates(machine: Machine) -> tuple[list[str], list[str]]:
    """Return the backends to try, best first and never empty, and notes on those that were left out."""
    if machine.gpu is None:
        return [NATIVE], []
    names, notes = [], []
    for name in preferred(machine.gpu.capability):
        reason = refusal(name, machine)
        if reason is None:
            names.append(name)
        elif BACKENDS[name].package is None or not names:
            notes.append(f"Attention backend {name} {reason}.")
    return names or [NATIVE], notes


def cross_attention_backend(machine: Machine) -> str:
    """Return the backend for cross-attention: a long query, but only 512, 257 or 32 keys.

    It is 3 % of the work of self-attention, so quantizing it saves nothing, and quantizing kernels smooth
    keys over the sequence, which is too short here. Only exact kernels are used.
    """
    if machine.gpu is not None and machine.gpu.capability < (8, 0):
        return "_native_efficient"
    return NATIVE
