"""What a machine is: its GPU, what torch can run on it, its memory, the packages that are there."""

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
# The first driver that runs each generation of CUDA, by NVIDIA's table of minor version compatibility.
LEAST_DRIVERS = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
# Attention packages: the name they are imported by, and the name they are installed by.
ATTENTION_PACKAGES = {"flash_attn": "flash-attn", "sageattention": "sageattention"}


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: As its driver names it.
        capability: Compute capability.
        memory: Its bytes.
        specification: Its data sheet, where it is a known one.
    """

    name: str
    capability: tuple[int, int]
    memory: int
    specification: GpuSpecification | None = None


@dataclass(frozen=True)
class Machine:
    """A machine as far as the plan depends on it.

    Attributes:
        gpu: The GPU that is used; None where the CPU computes.
        gpu_count: How many there are like it.
        host_memory: Bytes of memory; 0 where unknown.
        torch_version: Such as (2, 5).
        cuda: Version of CUDA that torch is built for; None in a CPU build.
        driver: Version of the NVIDIA driver; None where there is none, or unknown.
        architectures: What torch has kernels for, such as "sm_80" and "compute_90" (which newer GPUs can
            compile); empty where unknown.
        packages: Attention packages by import name, with their versions.
        device: Where it computes.
    """

    gpu: Gpu | None = None
    gpu_count: int = 0
    host_memory: int = 0
    torch_version: tuple[int, int] = (2, 5)
    cuda: tuple[int, int] | None = None
    driver: tuple[int, int] | None = None
    architectures: tuple[str, ...] = ()
    packages: tuple[tuple[str, str], ...] = ()
    device: str = "cpu"

    def has(self, package: str) -> bool:
        """Whether an attention package is installed."""
        return any(name == package for name, _ in self.packages)

    @property
    def old_driver(self) -> str | None:
        """Why the driver can't run this torch, as a sentence; None where it can or isn't known."""
        if self.cuda is None or self.driver is None:
            return None
        least = LEAST_DRIVERS.get(self.cuda[0], (0, 0))
        if self.driver >= least:
            return None
        return (
            f"The NVIDIA driver {_dotted(self.driver)} is too old for this torch, made for CUDA "
            f"{_dotted(self.cuda)}: it needs {_dotted(least)} or a later one."
        )

    @property
    def runs_on_gpu(self) -> bool:
        """Whether torch has code for the GPU."""
        if self.gpu is None or not self.architectures:
            return True
        major, minor = self.gpu.capability
        for architecture in self.architectures:
            kind, _, number = architecture.partition("_")
            digits = "".join(character for character in number if character.isdigit())
            has = (int(digits[:-1]), int(digits[-1]))
            # binary code runs on later GPUs of its generation; what is compiled on the spot on all later ones
            if has <= (major, minor) and (kind == "compute" or has[0] == major):
                return True
        return False


def detect_machine(device: str | torch.device | None = None) -> Machine:
    """Describe this machine.

    Args:
        device: "cpu", "cuda" or "cuda:N"; None takes the first GPU, or the CPU where there is none.

    Raises:
        InvalidInput: The device doesn't exist here.
    """
    chosen = _find_device(device)
    gpu, count = None, 0
    if chosen.type == "cuda":
        properties = torch.cuda.get_device_properties(chosen)
        memory = properties.total_memory
        gpu = Gpu(
            properties.name,
            (properties.major, properties.minor),
            memory,
            find_specification(properties.name, memory),
        )
        count = torch.cuda.device_count()
    return Machine(
        gpu=gpu,
        gpu_count=count,
        host_memory=usable_memory(),
        torch_version=_version(torch.__version__) or (0, 0),
        cuda=_version(torch.version.cuda),
        driver=driver_version(),
        architectures=tuple(torch.cuda.get_arch_list()) if gpu is not None else (),
        packages=_attention_packages(),
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
        raise InvalidInput(f"device '{device}' is unknown: use cpu, cuda or cuda:N.", "device")
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            sentence = f"device '{device}' needs an NVIDIA GPU, and torch finds none here."
            raise InvalidInput(old_driver() or sentence, "device")
        count = torch.cuda.device_count()
        if (chosen.index or 0) >= count:
            raise InvalidInput(f"device '{device}' isn't there: this machine has {count} GPU(s).", "device")
    return chosen


def driver_version(path: Path = DRIVER_FILE) -> tuple[int, int] | None:
    """Version of the NVIDIA driver; None where there is none."""
    try:
        match = re.search(r"\b(\d{3,4})\.(\d+)", path.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None
    return (int(match[1]), int(match[2])) if match else None


def old_driver() -> str | None:
    """Why this machine's driver can't run this torch; None where it can, or there is none."""
    return Machine(cuda=_version(torch.version.cuda), driver=driver_version()).old_driver


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _attention_packages() -> tuple[tuple[str, str], ...]:
    found = []
    for module, distribution in ATTENTION_PACKAGES.items():
        if util.find_spec(module) is None:
            continue
        try:
            found.append((module, metadata.version(distribution)))
        except metadata.PackageNotFoundError:
            found.append((module, "unknown"))
    return tuple(found)


def _version(text: str | None) -> tuple[int, int] | None:
    """The first two numbers of a version."""
    if not text:
        return None
    major, minor = text.split("+")[0].split(".")[:2]
    return int(major), int("".join(character for character in minor if character.isdigit()) or 0)
