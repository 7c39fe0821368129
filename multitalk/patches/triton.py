"""A stand-in for Triton's GPU driver: kernels are compiled for a GPU that this machine need not have."""

from __future__ import annotations

import ctypes
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from triton.backends.compiler import GPUTarget
from triton.backends.nvidia import driver as nvidia
from triton.compiler.compiler import CompiledKernel
from triton.runtime.driver import driver

PINNED = {"triton": ("3.1.0", "3.4.0", "3.7.1")}

# Shared memory that a block of threads may use, in bytes, by compute capability
SHARED_MEMORY = {
    70: 96 << 10,
    75: 64 << 10,
    80: 163 << 10,
    86: 99 << 10,
    89: 99 << 10,
    90: 227 << 10,
    100: 227 << 10,
    120: 99 << 10,
}
_STUB = "libcuda.so.1"


class StandInDriver:
    """Compiles the kernels that are launched, and launches nothing.

    A launch takes the same way through Triton as on a GPU, so that the keys of Triton's cache are the same.
    Triton 3.1 and 3.4 also build a launcher for every kernel with a C compiler.

    Attributes:
        capability: Compute capability of the GPU, 80 for 8.0.
        compiled: Name, size of the machine code and shared memory of every kernel, in bytes.
    """

    def __init__(self) -> None:
        self.capability = 80
        self.compiled: list[tuple[str, int, int]] = []
        self.utils = self
        # newer versions also ask how many threads the kernel can have
        source = inspect.getsource(CompiledKernel._init_handles)
        self._loaded = (0, 0, 0, 0, 1024) if "n_max_threads" in source else (0, 0, 0, 0)

    def install(self) -> None:
        """Make this the driver of the process."""
        driver.set_active(self)

    def launcher_cls(self, source: Any, metadata: Any) -> Any:
        """Build the launcher of a kernel, and return one that does nothing."""
        if "TRITON_LIBCUDA_PATH" in os.environ and hasattr(nvidia, "make_launcher"):
            nvidia.CudaLauncher(source, metadata)
        return lambda *arguments: None

    def load_binary(self, name: str, kernel: bytes, shared: int, device: int) -> tuple[int, ...]:
        """Record a kernel instead of loading it."""
        self.compiled.append((name, len(kernel), shared))
        return self._loaded

    def get_device_properties(self, device: int) -> dict[str, int]:
        """Return what Triton checks before it loads a kernel."""
        return {"max_shared_mem": SHARED_MEMORY[self.capability]}

    def get_current_device(self) -> int:
        """Return a number for each kind of GPU: Triton keeps the kernels of every device in memory."""
        return self.capability

    def set_current_device(self, device: int) -> None:
        """Do nothing."""

    def get_current_stream(self, device: int) -> int:
        """Return the default stream."""
        return 0

    def get_current_target(self) -> GPUTarget:
        """Return the target of the compiler."""
        return GPUTarget("cuda", self.capability, 32)


def build_launchers(folder: Path) -> None:
    """Build Triton's C code, and from now on the launchers, without NVIDIA's driver.

    They are linked to a library of the driver's name without functions, which the first calls look up.

    Args:
        folder: Gets the library.
    """
    library = folder / _STUB
    stub = ["-shared", "-x", "c", "/dev/null", f"-Wl,-soname,{_STUB}", "-o", str(library)]
    subprocess.run([os.environ.get("CC", "gcc"), *stub], check=True)
    (folder / "libcuda.so").symlink_to(_STUB)
    os.environ["TRITON_LIBCUDA_PATH"] = str(folder)
    sys.setdlopenflags(os.RTLD_LAZY)
    ctypes.CDLL(str(library), mode=os.RTLD_GLOBAL | os.RTLD_LAZY)
    nvidia.CudaUtils()
