"""Detect the machine: GPU, driver, memory, torch and attention packages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import torch

from ..errors import InvalidInput
from ..weights.host_memory import usable_memory
from .gpus import GpuSpecification, find_specification

DRIVER_FILE = Path("/proc/driver/nvidia/version")
# Oldest driver for each major CUDA version, from NVIDIA's table of minor version compatibility.
OLDEST_DRIVERS = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
# Import name -> distribution name.
ATTENTION_PACKAGES = {
    "flash_attn": "flash-attn",
    "flash_attn_interface": "flash_attn_3",
    "flash_attn.cute": "flash-attn-4",
    "sageattention": "sageattention",
    "sageattn3": "sageattn3",
}


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: The driver's name for it.
        capability: Compute capability.
        memory: Memory in bytes.
        specification: Data sheet; None if the GPU is not in the table.
    """

    name: str
    capability: tuple[int, int]
    memory: int
    specification: GpuSpecification | None = None


@dataclass(frozen=True)
class Machine:
    """The properties of a machine that a hardware plan depends on.

    Attributes:
        gpu: The GPU; None if the CPU computes.
        gpu_count: Number of GPUs.
        host_memory: Host memory in bytes; 0 if unknown.
        cuda: CUDA version that torch was built for; None in a CPU build.
        driver: Version of the NVIDIA driver; None if unknown or missing.
        architectures: Architectures that torch has kernels for, such as "sm_80" and "compute_90" (which newer
            GPUs can compile); empty if unknown.
        packages: Attention packages: import names and versions.
        kernels: Whether Triton is installed, which compiles the kernels of :mod:`multitalk.models.kernels`.
        device: Device that computes.
    """

    gpu: Gpu | None = None
    gpu_count: int = 0
    host_memory: int = 0
    cuda: tuple[int, int] | None = None
    driver: tuple[int, int] | None = None
    architectures: tuple[str, ...] = ()
    packages: tuple[tuple[str, str], ...] = ()
    kernels: bool = False
    device: str = "cpu"

    def has(self, package: str) -> bool:
        """Return whether an attention package is installed."""
        return any(name == package for name, _ in self.packages)

    @property
    def old_driver(self) -> str | None:
        """Error message if the driver is too old for this torch; None if it is not or is unknown."""
        if self.cuda is None or self.driver is None:
            return None
        oldest = OLDEST_DRIVERS.get(self.cuda[0], (0, 0))
        if self.driver >= oldest:
            return None
        return (
            f"The NVIDIA driver {_dotted(self.driver)} is too old for this torch, built for CUDA "
            f"{_dotted(self.cuda)}. Install driver {_dotted(oldest)} or later."
        )

    @property
    def missing_kernels(self) -> str | None:
        """Error message if this torch has no kernels for the GPU; None if it has or this is unknown."""
        if self.gpu is None or not self.architectures or any(map(self._runs, self.architectures)):
            return None
        number = "".join(map(str, self.gpu.capability))
        built_for = ", ".join(self.architectures)
        return (
            f"This torch (CUDA {_dotted(self.cuda or ())}, {built_for}) has no kernels for "
            f"{self.gpu.name} (sm_{number}). Use the cu128 image, or a torch built for this GPU."
        )

    def _runs(self, architecture: str) -> bool:
        """Return whether the GPU runs code for an architecture."""
        assert self.gpu is not None
        kind, _, number = architecture.partition("_")
        digits = "".join(character for character in number if character.isdigit())
        built_for = (int(digits[:-1]), int(digits[-1]))
        # binaries (sm) run on later GPUs of the same generation, PTX code (compute) on all later GPUs
        same_generation = built_for[0] == self.gpu.capability[0]
        return built_for <= self.gpu.capability and (kind == "compute" or same_generation)


def detect_machine(device: str | torch.device | None = None) -> Machine:
    """Detect this machine.

    Args:
        device: "cpu", "cuda" or "cuda:N". None takes the first GPU, or the CPU if there is none.

    Raises:
        InvalidInput: The device does not exist.
    """
    chosen = _find_device(device)
    gpu, count = None, 0
    if chosen.type == "cuda":
        properties = torch.cuda.get_device_properties(chosen)
        gpu = Gpu(
            properties.name,
            (properties.major, properties.minor),
            properties.total_memory,
            find_specification(properties.name, properties.total_memory),
        )
        count = torch.cuda.device_count()
    return Machine(
        gpu=gpu,
        gpu_count=count,
        host_memory=usable_memory(),
        cuda=_version(torch.version.cuda),
        driver=driver_version(),
        architectures=tuple(torch.cuda.get_arch_list()) if gpu is not None else (),
        packages=_attention_packages(),
        kernels=gpu is not None and util.find_spec("triton") is not None,
        device=str(chosen),
    )


def _find_device(device: str | torch.device | None) -> torch.device:
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = torch.device("meta")
    if chosen.type not in ("cpu", "cuda"):
        raise InvalidInput(f"device must be cpu, cuda or cuda:N, not '{device}'.", "device")
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            message = f"device: torch found no NVIDIA GPU ({device} requested). Use cpu or a CUDA build."
            raise InvalidInput(old_driver() or message, "device")
        count = torch.cuda.device_count()
        if (chosen.index or 0) >= count:
            raise InvalidInput(f"device must be below cuda:{count} on this machine, not {device}.", "device")
    return chosen


def driver_version(path: Path = DRIVER_FILE) -> tuple[int, int] | None:
    """Return the version of the NVIDIA driver; None if it is not installed."""
    try:
        match = re.search(r"\b(\d{3,4})\.(\d+)", path.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None
    return (int(match[1]), int(match[2])) if match else None


def old_driver() -> str | None:
    """Return :attr:`Machine.old_driver` of this machine."""
    return Machine(cuda=_version(torch.version.cuda), driver=driver_version()).old_driver


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _attention_packages() -> tuple[tuple[str, str], ...]:
    packages = []
    for module, distribution in ATTENTION_PACKAGES.items():
        if not _is_installed(module):
            continue
        try:
            packages.append((module, metadata.version(distribution)))
        except metadata.PackageNotFoundError:
            packages.append((module, "unknown"))
    return tuple(packages)


def _is_installed(module: str) -> bool:
    """Return whether a module can be found, without importing its parent, which may load CUDA libraries."""
    parent, _, child = module.partition(".")
    spec = util.find_spec(parent)
    if spec is None:
        return False
    if not child:
        return spec.origin is not None  # FlashAttention 4 alone makes flash_attn a folder without a module
    return any((Path(folder) / child).is_dir() for folder in spec.submodule_search_locations or ())


def _version(text: str | None) -> tuple[int, int] | None:
    """Parse the first two numbers of a version."""
    if not text:
        return None
    major, minor = text.split("+")[0].split(".")[:2]
    return int(major), int("".join(character for character in minor if character.isdigit()) or 0)
