"""What this machine has, what it would run with, and what is missing."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.resources import files
from pathlib import Path

from ..errors import MultiTalkError
from ..weights.host_memory import container_limit, usable_memory

# the lock, beside the package in a checkout and in the image
REQUIREMENTS = Path(str(files("multitalk"))).parent / "requirements.txt"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        state: "ok", "note" (works, but differs from what is expected), or "missing" (no video can be made).
        name: What it is about.
        text: What was found, and how to get what is missing.
    """

    state: str
    name: str
    text: str


def examine(weights: str | Path | None = None) -> list[Finding]:
    """Looks at everything a job needs; never raises.

    Args:
        weights: A baked weights folder; None searches as a job would.
    """
    checks: list[Callable[[], list[Finding]]] = [
        _check_python,
        _check_torch,
        _check_gpus,
        partial(_check_plan, weights),
        _check_ffmpeg,
        partial(_check_weights, weights),
        partial(_check_speech, weights),
        _check_packages,
    ]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:  # a broken installation may fail in any way; that is a finding
            name = _name_of(check)
            findings.append(Finding("missing", name, f"{type(error).__name__}: {_one_line(error)}"))
    return findings


def _name_of(check: Callable[[], list[Finding]]) -> str:
    named = check.func if isinstance(check, partial) else check
    return getattr(named, "__name__", "check").removeprefix("_check_")


def format_findings(findings: list[Finding]) -> str:
    """The report: aligned lines, and a last one with the verdict."""
    width = max(len(finding.name) for finding in findings)
    lines = [f"{finding.state:<8}{finding.name:<{width}}  {finding.text}" for finding in findings]
    missing = [finding.name for finding in findings if finding.state == "missing"]
    verdict = f"Not ready: {', '.join(missing)}." if missing else "Ready to make videos."
    return "\n".join([*lines, verdict])


def _check_python() -> list[Finding]:
    version = platform.python_version()
    text = f"{version} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, {_memory()}"
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        return [Finding("note", "python", f"{text}; made for 3.11 and 3.12")]
    return [Finding("ok", "python", text)]


def _memory() -> str:
    size = usable_memory()
    if not size:
        return "memory unknown"
    return f"{size / 1e9:.0f} GB of memory" + (" for this container" if container_limit() == size else "")


def _check_torch() -> list[Finding]:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        return [Finding("missing", "torch", f"can't be imported ({_one_line(error)}): run `make setup`")]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return [Finding("ok", "torch", f"{torch.__version__}, {build}")]


def _check_gpus() -> list[Finding]:
    from ..runtime.machine import old_driver

    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        driver = Path("/proc/driver/nvidia/version").exists()
        if driver and not torch.version.cuda:
            text = "an NVIDIA driver is here, but torch is a CPU build: run `make setup` for the CUDA build"
            return [Finding("note", "gpu", text)]
        if (reason := old_driver()) is not None:
            return [Finding("note", "gpu", reason)]
        text = "none that torch can use: small weights run on the CPU, the published ones need a GPU"
        return [Finding("note", "gpu", text)]
    findings = []
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        text = f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, compute capability {gpu.major}.{gpu.minor}"
        findings.append(Finding("ok", f"gpu {index}", text))
    return findings


def _check_plan(weights: str | Path | None) -> list[Finding]:
    from ..pipeline.planning import loading_workload
    from ..runtime.planner import Planner, weights_of
    from ..runtime.weights_folder import find_weights
    from ..weights.store import WeightsFolder

    try:
        planned = weights_of(WeightsFolder(find_weights(weights)))
    except (MultiTalkError, KeyError):
        planned = None  # what is wrong with the weights is another finding
    try:
        plan = Planner(weights=planned).plan(loading_workload())
    except MultiTalkError as error:
        return [Finding("missing", "plan", str(error))]
    return [Finding("ok", "plan", plan.description), *(Finding("note", "plan", note) for note in plan.notes)]


def _check_ffmpeg() -> list[Finding]:
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        return [
            Finding("missing", "ffmpeg", f"PyAV can't be imported ({_one_line(error)}): run `make setup`")
        ]
    lacking = []
    for codec in ("libx264", "aac"):
        try:
            av.Codec(codec, "w")
        except Exception:  # the class of the error is PyAV's own, and moved between its versions
            lacking.append(codec)
    version = ".".join(str(part) for part in av.library_versions["libavcodec"])
    text = f"PyAV {av.__version__}, libavcodec {version}"
    if lacking:
        return [
            Finding(
                "missing", "ffmpeg", f"{text}, without the encoder {', '.join(lacking)}: run `make setup`"
            )
        ]
    return [Finding("ok", "ffmpeg", f"{text}, encoders libx264 and aac")]


def _check_weights(weights: str | Path | None) -> list[Finding]:
    from ..runtime.weights_folder import find_weights
    from ..weights.store import WeightsFolder

    try:
        path = find_weights(weights)
        folder = WeightsFolder(path)
    except MultiTalkError as error:
        return [Finding("missing", "weights", str(error))]
    manifest = folder.manifest
    precisions = sorted(set(manifest.precision.values()))
    size = sum(record.size for record in manifest.files.values())
    text = f"{path}: {manifest.name}, {size / 1e9:.2f} GB, made for the preset {manifest.default_preset}"
    merged = [f"{lora.name} (merged at {lora.scale:g})" for lora in manifest.loras]
    files = sorted(file.name for file in (path / "loras").glob("*.safetensors"))
    return [
        Finding("ok", "weights", text),
        Finding("ok", "precision", ", ".join(precisions)),
        Finding("ok", "loras", ", ".join([*merged, *files]) or "none"),
    ]


def _check_speech(weights: str | Path | None) -> list[Finding]:
    from ..runtime.weights_folder import find_weights
    from ..speech.speak import choose_engine
    from ..weights.kokoro_files import FOLDER, SPACY_MODEL

    try:
        path = find_weights(weights)
    except MultiTalkError:
        path = None  # said already
    engine = choose_engine(path)
    text = f"{engine.name}, {len(engine.voices())} voices"
    findings = [Finding("ok", "speech", text)]
    if path is None or not (path / FOLDER).is_dir():
        findings[0] = Finding("ok", "speech", f"{text}; Kokoro's weights aren't in the folder")
    elif not (path / FOLDER / SPACY_MODEL / "config.cfg").is_file():
        hint = f"{SPACY_MODEL} isn't in the folder: espeak-ng reads English for Kokoro; bake with it"
        findings.append(Finding("note", "english", hint))
    return findings


def _check_packages() -> list[Finding]:
    from packaging.requirements import Requirement

    required = _requirements()
    if not required:
        return [
            Finding("note", "packages", "neither requirements.txt nor an installed package: not compared")
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
    """What the lock names where it is beside the package, else what the installed package requires."""
    if REQUIREMENTS.is_file():
        lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
        texts = (line.split("#")[0].strip(" \\") for line in lines)
        return [text for text in texts if text and not text.startswith("-")]
    try:
        return metadata.requires("multitalk") or []
    except metadata.PackageNotFoundError:
        return []


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
