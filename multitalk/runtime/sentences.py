"""What is said of plans and of what doesn't fit."""

from __future__ import annotations

from .attention import BACKENDS
from .gpus import GB
from .machine import Machine
from .memory import HOST_RESERVE, MemoryLayout, Workload
from .plan import PARTS, HardwarePlan


def describe(plan: HardwarePlan, machine: Machine, job: Workload) -> str:
    """One line for people."""
    where = machine.gpu.name if machine.gpu is not None else "CPU"
    if machine.gpu_count > 1:
        where = f"{machine.gpu_count} x {where}"
    kernel = BACKENDS[plan.attention_backend].description
    parts = [
        f"{where}: computes in {str(plan.dtype).removeprefix('torch.')}",
        f"weights in {plan.transformer_precision}",
        f"attention by {plan.attention_backend} ({kernel})",
    ]
    away = [part for part in PARTS if part not in plan.resident]
    parts.append(f"{', '.join(away)} on the device for its stage alone" if away else "all weights resident")
    if plan.streamed_blocks:
        parts.append(f"{plan.streamed_blocks} blocks streamed")
    if plan.vae_tiling:
        parts.append("VAE in tiles")
    if plan.expected_peak_bytes:
        parts.append(f"expected peak {gb(plan.expected_peak_bytes)} at {job.width}x{job.height}")
    if plan.expected_seconds is not None:
        parts.append(f"estimated {plan.expected_seconds:.0f} s for a clip of {job.calls} model calls")
    return ", ".join(parts)


def no_kernels(machine: Machine) -> str:
    """For a GPU that this torch has no code for."""
    assert machine.gpu is not None
    number = "".join(map(str, machine.gpu.capability))
    cuda = ".".join(map(str, machine.cuda or ()))
    return (
        f"{machine.gpu.name} is of architecture sm_{number}, for which this torch (CUDA {cuda}, "
        f"{', '.join(machine.architectures)}) has no code: use the cu128 image, or a torch built for it."
    )


def host_too_small(layout: MemoryLayout, machine: Machine) -> str:
    """For a machine whose own memory can't take what its GPU can't."""
    name = machine.gpu.name if machine.gpu is not None else "the device"
    return (
        f"{name} needs {gb(layout.host_bytes + HOST_RESERVE)} of host memory for the weights it can't hold, "
        f"and there are {gb(machine.host_memory)}: use weights of a smaller precision or a larger GPU."
    )


def gb(count: int) -> str:
    """Bytes for people."""
    return f"{count / GB:.1f} GB"
