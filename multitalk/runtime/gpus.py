"""GPU specifications, as published by NVIDIA."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.constants import FP8_CAPABILITY, INT8_CAPABILITY

GB = 10**9


@dataclass(frozen=True)
class GpuSpecification:
    """A GPU's data sheet. None of these values has been measured.

    Attributes:
        name: Common name.
        capability: Compute capability.
        memory: Memory in bytes, with 1 GB = 10^9 bytes: slightly less than the driver reports.
        half: Dense tensor throughput in operations per second, in bfloat16 (float16 below capability 8.0),
            with float32 accumulation if the data sheet lists it separately.
        single: Throughput in float32 without tensor cores.
        eight_bit: Throughput of int8 matrix products; None if the GPU has no tensor cores for them.
        bandwidth: Transfer rate of its memory in bytes per second.
        host_link: Transfer rate from pinned host memory in bytes per second, about 80 % of the PCIe link.
    """

    name: str
    capability: tuple[int, int]
    memory: int
    half: float
    single: float
    eight_bit: float | None
    bandwidth: float
    host_link: float

    def throughput(self, precision: str) -> float:
        """Return the operations per second of matrix products with weights in a precision."""
        if precision == "float32":
            return self.single
        if self.eight_bit is None or not has_products(self.capability, precision):
            return self.half
        return self.eight_bit


def _gpu(
    name: str,
    capability: tuple[int, int],
    memory: float,
    half: float,
    single: float,
    eight_bit: float | None,
    bandwidth: float,
    host_link: float,
) -> GpuSpecification:
    """Convert a data sheet's units: GB, 10^12 operations per second, GB per second."""
    eight_bit = None if eight_bit is None else eight_bit * 1e12
    rates = (half * 1e12, single * 1e12, eight_bit, bandwidth * GB, host_link * GB)
    return GpuSpecification(name, capability, int(memory * GB), *rates)


# The GPUs in the table of `doctor --plans`. Add a line here to support another one.
# On T4 and A40, error correction takes part of the memory.
GPUS: tuple[GpuSpecification, ...] = (
    _gpu("V100 16 GB", (7, 0), 16, 112, 14, None, 900, 12),
    _gpu("V100 32 GB", (7, 0), 32, 112, 14, None, 900, 12),
    _gpu("T4", (7, 5), 15.6, 65, 8.1, 130, 320, 12),
    _gpu("A100 40 GB", (8, 0), 40, 312, 19.5, 624, 1555, 24),
    _gpu("A100 80 GB", (8, 0), 80, 312, 19.5, 624, 1935, 24),
    _gpu("RTX A6000", (8, 6), 48, 155, 38.7, 310, 768, 24),
    _gpu("A40", (8, 6), 47.7, 150, 37.4, 299, 696, 24),
    _gpu("RTX 4090", (8, 9), 24, 165, 82.6, 660, 1008, 24),
    _gpu("RTX 5090", (12, 0), 32, 209, 104.8, 838, 1792, 48),
    _gpu("H100", (9, 0), 80, 989, 67, 1979, 3350, 48),
    _gpu("H200", (9, 0), 141, 989, 67, 1979, 4800, 48),
)

# A word of the driver's name for a GPU -> the start of its name in GPUS.
_NAMES = {
    "V100": "V100", "T4": "T4", "A100": "A100", "A6000": "RTX A6000", "A40": "A40",
    "4090": "RTX 4090", "5090": "RTX 5090", "H100": "H100", "H200": "H200",
}  # fmt: skip


def find_specification(name: str, memory: int) -> GpuSpecification | None:
    """Return the data sheet of a GPU; None if it is not in the table.

    Args:
        name: The driver's name for it, such as "NVIDIA A100-SXM4-80GB".
        memory: Memory in bytes, which distinguishes GPUs of the same name.
    """
    words = name.replace("-", " ").split()
    model = next((model for word, model in _NAMES.items() if word in words), None)
    matching = [gpu for gpu in GPUS if model is not None and gpu.name.startswith(model)]
    return min(matching, key=lambda gpu: abs(gpu.memory - memory), default=None)


def has_products(capability: tuple[int, int], precision: str) -> bool:
    """Return whether a GPU multiplies weights in an 8-bit precision without dequantizing them."""
    minimum = {"int8": INT8_CAPABILITY, "fp8": FP8_CAPABILITY}.get(precision)
    return minimum is not None and capability >= minimum


def format_gb(size: int) -> str:
    """Format bytes for messages."""
    return f"{size / GB:.1f} GB"
