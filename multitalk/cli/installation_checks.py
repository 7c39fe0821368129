"""What ``multitalk doctor`` finds out about the installation: Python, torch, GPUs, ffmpeg and packages."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path

from ..weights.host_memory import container_limit, usable_memory

# the lock file is stored beside the package in a checkout and in the image
REQUIREMENTS = Path(str(files("multitalk"))).parent / "requirements.txt"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        state: "ok", "note" (works, but differs from the expected setup), or "missing" (generation would
            fail).
        name: Name of the checked item.
        text: The result, and how to fix a problem.
    """

    state: str
    name: str
    text: str


def check_python() -> list[Finding]:
    """Check the version of Python; with the processor's cores and the memory."""
    version = platform.python_version()
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, {describe_memory()}"
    text = f"{version} on {machine}"
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        return [Finding("note", "python", f"{text}; supported versions are 3.11 and 3.12")]
    return [Finding("ok", "python", text)]


def describe_memory() -> str:
    """Return the memory that this process may use, in words."""
    size = usable_memory()
    if not size:
        return "memory unknown"
    return f"{size / 1e9:.0f} GB of memory" + (" for this container" if container_limit() == size else "")


def check_torch() -> list[Finding]:
    """Check that torch can be imported."""
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        return [Finding("missing", "torch", f"cannot be imported ({one_line(error)}). Run `make setup`.")]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return [Finding("ok", "torch", f"{torch.__version__}, {build}")]


def check_gpus() -> list[Finding]:
    """List the GPUs that torch can use, or say why there is none."""
    from ..runtime.machine import old_driver

    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        driver = Path("/proc/driver/nvidia/version").exists()
        if driver and not torch.version.cuda:
            text = "NVIDIA driver found, but torch is a CPU build. Run `make setup` for the CUDA build."
            return [Finding("note", "gpu", text)]
        if (reason := old_driver()) is not None:
            return [Finding("note", "gpu", reason)]
        text = "none that torch can use; small weights run on the CPU, the published weights need a GPU"
        return [Finding("note", "gpu", text)]
    findings = []
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        text = f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, compute capability {gpu.major}.{gpu.minor}"
        findings.append(Finding("ok", f"gpu {index}", text))
    return findings


def check_ffmpeg() -> list[Finding]:
    """Check that PyAV has the encoders of an mp4."""
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        text = f"PyAV cannot be imported ({one_line(error)}). Run `make setup`."
        return [Finding("missing", "ffmpeg", text)]
    missing = []
    for codec in ("libx264", "aac"):
        try:
            av.Codec(codec, "w")
        except Exception:  # the class of PyAV's error differs between its versions
            missing.append(codec)
    version = ".".join(str(part) for part in av.library_versions["libavcodec"])
    text = f"PyAV {av.__version__}, libavcodec {version}"
    if missing:
        text = f"{text}, without the encoder {', '.join(missing)}. Run `make setup`."
        return [Finding("missing", "ffmpeg", text)]
    return [Finding("ok", "ffmpeg", f"{text}, encoders libx264 and aac")]


def check_packages() -> list[Finding]:
    """Compare the installed packages with the required versions."""
    from packaging.requirements import Requirement

    required = _requirements()
    if not required:
        return [
            Finding(
                "note",
                "packages",
                "not compared: requirements.txt is missing and multitalk is not installed",
            )
        ]
    findings, count = [], 0
    for text in required:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        count += 1
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            hint = f"not installed: run `make setup`, or pip install '{text}'"
            findings.append(Finding("missing", requirement.name, hint))
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            findings.append(
                Finding("note", requirement.name, f"{version}, tested with {requirement.specifier}")
            )
    fine = count - len(findings)
    summary = Finding("note" if findings else "ok", "packages", f"{fine} of {count} as required")
    return [summary, *findings]


def _requirements() -> list[str]:
    """Return the requirements of the lock file, or those of the installed package if there is none."""
    if REQUIREMENTS.is_file():
        lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
        texts = (line.split("#")[0].strip(" \\") for line in lines)
        return [text for text in texts if text and not text.startswith("-")]
    try:
        return metadata.requires("multitalk") or []
    except metadata.PackageNotFoundError:
        return []


def one_line(error: BaseException) -> str:
    """Return an error's message in one short line."""
    return " ".join(str(error).split())[:200]
