"""Which attention kernels a GPU can run, in the order they are tried.

A backend is chosen by what the GPU can run, never by what can be imported: SageAttention imports on a T4
and fails there, and its default kernel for the RTX 4090 crashes when it was built below CUDA 12.8.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidInput
from .machine import Machine

NATIVE = "native"


@dataclass(frozen=True)
class AttentionBackend:
    """A backend that can be asked for.

    Attributes:
        name: In settings, and in diffusers' dispatcher or in `multitalk.models.attention_backends`.
        package: What must be importable; None for torch's own.
        least: Compute capability from which it runs.
        exact: Whether its result differs from exact attention by rounding alone; the others quantize.
        description: For people.
    """

    name: str
    package: str | None
    least: tuple[int, int]
    exact: bool
    description: str


# A backend is a line here; CONTRIBUTING.md says what else it needs.
BACKENDS: dict[str, AttentionBackend] = {
    backend.name: backend
    for backend in (
        AttentionBackend(NATIVE, None, (5, 0), True, "torch's own choice"),
        AttentionBackend("_native_cudnn", None, (8, 0), True, "cuDNN"),
        AttentionBackend("_native_flash", None, (8, 0), True, "torch's FlashAttention 2"),
        AttentionBackend("_native_efficient", None, (5, 0), True, "torch's memory-efficient kernel"),
        AttentionBackend("flash", "flash_attn", (8, 0), True, "flash-attn 2"),
        AttentionBackend("sage", "sageattention", (8, 0), False, "SageAttention, its own choice of kernel"),
        AttentionBackend(
            "sage_fp8_fp32", "sageattention", (8, 9), False, "SageAttention, fp8 values, fp32+fp32 sums"
        ),
        AttentionBackend(
            "sage_fp16_fp32", "sageattention", (8, 0), False, "SageAttention, fp16 values, fp32 sums"
        ),
    )
}

# SageAttention's default for 8.9 and 12.0 sums in fp32+fp16, which needs a build by this CUDA or a later one.
FAST_SAGE_CUDA = (12, 8)


def refusal(name: str, machine: Machine) -> str | None:
    """Why a backend can't run on a machine, as the end of a sentence; None where it can.

    Raises:
        InvalidInput: There is no backend of that name.
    """
    backend = BACKENDS.get(name)
    if backend is None:
        raise InvalidInput(f"attention backend '{name}' is unknown: use {', '.join(BACKENDS)}.", "attention")
    if machine.gpu is None:
        return None if name == NATIVE else "needs a GPU"
    capability = machine.gpu.capability
    if capability < backend.least:
        least = ".".join(map(str, backend.least))
        return f"needs compute capability {least}, and this GPU has {'.'.join(map(str, capability))}"
    if backend.package is not None and not machine.has(backend.package):
        return f"needs the package {backend.package}, which isn't installed"
    if name == "sage" and capability[:2] in ((8, 9), (12, 0)) and (machine.cuda or (0, 0)) < FAST_SAGE_CUDA:
        return "crashes here: its default sums need CUDA 12.8; sage_fp8_fp32 works"
    if name == "sage_fp8_fp32" and capability == (9, 0):
        return "has no kernel for compute capability 9.0; sage does"
    return None


def preferred(capability: tuple[int, int]) -> tuple[str, ...]:
    """Backends for self-attention over a clip's tokens, best first, by compute capability.

    Exact kernels come first where they are fast. On consumer GPUs, whose 16-bit products with float32 sums
    run at half rate, SageAttention's 8-bit products are worth their rounding. None of these orders was
    measured.
    """
    if capability < (8, 0):
        # neither flash kernel exists below 8.0, and torch's fallback would make the whole N x N matrix
        return ("_native_efficient",)
    if capability in ((8, 9), (12, 0)):
        return ("sage", "sage_fp8_fp32", "flash", "_native_flash", NATIVE)
    if capability >= (9, 0):
        return ("_native_cudnn", "flash", "_native_flash", NATIVE)
    return ("flash", "_native_flash", NATIVE)


def candidates(machine: Machine) -> tuple[list[str], list[str]]:
    """Backends to try on a machine, best first and always at least one, and why better ones are left out."""
    if machine.gpu is None:
        return [NATIVE], []
    found, reasons = [], []
    for name in preferred(machine.gpu.capability):
        reason = refusal(name, machine)
        if reason is None:
            found.append(name)
        elif BACKENDS[name].package is None or not found:
            reasons.append(f"attention backend {name} {reason}.")
    return found or [NATIVE], reasons


def cross_attention_backend(machine: Machine) -> str:
    """The backend for cross attention: a long query, few keys (512, 257 or 32 tokens).

    It is 3 % of self-attention's work, so quantizing it saves nothing, and quantizing kernels smooth keys
    over a sequence that is too short here: exact kernels alone.
    """
    if machine.gpu is not None and machine.gpu.capability < (8, 0):
        return "_native_efficient"
    return NATIVE
