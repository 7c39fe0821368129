"""The GPUs that people name: what their makers publish about them."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.constants import FP8_CAPABILITY, INT8_CAPABILITY

# Compute capability from which a GPU multiplies bfloat16; older ones would emulate it.
BFLOAT16_CAPABILITY = (8, 0)
GB = 10**9


@dataclass(frozen=True)
class GpuSpecification:
    """A GPU as its data sheet has it. Nothing here was measured.

    Attributes:
        name: What people call it.
        capability: Compute capability.
        memory: Bytes; GB on the sheet are taken as 10^9 bytes, a little less than what the driver reports.
        half: Dense tensor throughput in operations a second, in bfloat16 (float16 before 8.0), accumulating
            in float32 where the sheet tells the two apart.
        single: The same in float32 without tensor cores.
        eight_bit: The same of int8 matrix products; None where there are no tensor cores for them.
        host_link: Bytes a second from pinned host memory, about 80 % of the PCIe link.
    """

    name: str
    capability: tuple[int, int]
    memory: int
    half: float
    single: float
    eight_bit: float | None
    host_link: float


def _gpu(
    name: str,
    capability: tuple[int, int],
    memory: float,
    half: float,
    single: float,
    eight_bit: float | None,
    host_link: float,
) -> GpuSpecification:
    """From the sheet's units: GB, and 10^12 operations a second."""
    eight = None if eight_bit is None else eight_bit * 1e12
    return GpuSpecification(
        name, capability, int(memory * GB), half * 1e12, single * 1e12, eight, host_link * GB
    )


# The table that `doctor --plans` prints. A new GPU is a line here.
# T4 and A40 lose a part of their memory to error correction.
GPUS: tuple[GpuSpecification, ...] = (
    _gpu("V100 16 GB", (7, 0), 16, 112, 14, None, 12),
    _gpu("V100 32 GB", (7, 0), 32, 112, 14, None, 12),
    _gpu("T4", (7, 5), 15.6, 65, 8.1, 130, 12),
    _gpu("A100 40 GB", (8, 0), 40, 312, 19.5, 624, 24),
    _gpu("A100 80 GB", (8, 0), 80, 312, 19.5, 624, 24),
    _gpu("RTX A6000", (8, 6), 48, 155, 38.7, 310, 24),
    _gpu("A40", (8, 6), 47.7, 150, 37.4, 299, 24),
    _gpu("RTX 4090", (8, 9), 24, 165, 82.6, 660, 24),
    _gpu("RTX 5090", (12, 0), 32, 209, 104.8, 838, 48),
    _gpu("H100", (9, 0), 80, 989, 67, 1979, 48),
    _gpu("H200", (9, 0), 141, 989, 67, 1979, 48),
)

# What a driver's name contains -> the line above; the memory tells those of one name apart.
_NAMES = {
    "V100": "V100", "T4": "T4", "A100": "A100", "A6000": "RTX A6000", "A40": "A40",
    "4090": "RTX 4090", "5090": "RTX 5090", "H100": "H100", "H200": "H200",
}  # fmt: skip


def find_specification(name: str, memory: int) -> GpuSpecification | None:
    """The data sheet of a GPU by the name its driver gives it; None for one that isn't in the table.

    Args:
        name: Such as "NVIDIA A100-SXM4-80GB".
        memory: Its bytes.
    """
    words = name.replace("-", " ").split()
    known = next((line for part, line in _NAMES.items() if part in words), None)
    matching = [gpu for gpu in GPUS if known is not None and gpu.name.startswith(known)]
    return min(matching, key=lambda gpu: abs(gpu.memory - memory), default=None)


def multiplies(capability: tuple[int, int], precision: str) -> bool:
    """Whether a GPU multiplies 8-bit weights as they are; others multiply them in 16 bits."""
    least = {"int8": INT8_CAPABILITY, "fp8": FP8_CAPABILITY}.get(precision)
    return least is not None and capability >= least
