"""``multitalk doctor``: check this machine, and report what is missing."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.resources import files
from pathlib import Path

from ..errors import MultiTalkError
from ..runtime.environment import set_defaults
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("--weights", metavar="DIR", help="baked weights folder")
    add("--plans", action="store_true", help="print the hardware plan of every known GPU instead")
    add("--voices", action="store_true", help="print the voices and languages of text to speech instead")
    add("--cold-start", action="store_true", help="load the models and print the startup time instead")


def run(args: argparse.Namespace) -> int:
    """Print the report; return 1 if something is missing."""
    if args.cold_start:
        _print_startup(args.weights)
        return 0
    if args.plans:
        from ..runtime.report import plans_table

        print(plans_table())
        return 0
    if args.voices:
        print(_voices_text(args.weights))
        return 0
    missing = []
    for finding in examine(args.weights):
        print(f"{finding.state:<8}{finding.name:<9} {finding.text}", flush=True)
        if finding.state == "missing":
            missing.append(finding.name)
    print(f"Not ready: {', '.join(missing)}." if missing else "Ready to generate videos.")
    return 1 if missing else 0


def _voices_text(weights: str | None) -> str:
    """Return the names of the voices and the codes of the languages."""
    from ..runtime.environment import find_weights
    from ..speech.languages import title_of
    from ..speech.speak import choose_engine

    engine = choose_engine(find_weights(weights))
    languages = ", ".join(f"{code} ({title_of(engine, code)})" for code in engine.languages())
    return f"{engine.name}'s voices: {', '.join(engine.voices())}\n{engine.name}'s languages: {languages}"


def _print_startup(weights: str | None) -> None:
    """Load the models as a worker does, and print the stages of the startup."""
    from ..start.cold_start import ColdStart

    set_defaults(DIFFUSERS_VERBOSITY="error")
    start = ColdStart(weights)
    pipeline = start.load_pipeline(weights)
    start.ready()
    print(f"{pipeline.folder.path}: {pipeline.plan.description}\n{start.table()}")


def examine(weights: str | Path | None = None) -> Iterator[Finding]:
    """Check everything that a job needs, and yield each finding as soon as it is known; never raises.

    Args:
        weights: A baked weights folder; None searches.
    """
    checks: list[Callable[[], list[Finding]]] = [
        _check_python,
        _check_torch,
        _check_gpus,
        partial(_check_plan, weights),
        _check_ffmpeg,
        partial(_check_weights, weights),
        partial(_check_speech, weights),
        _check_marks,
        _check_packages,
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # a broken installation can fail in any way, which is a finding as well
            name = _name_of(check)
            yield Finding("missing", name, f"{type(error).__name__}: {_one_line(error)}")


def _name_of(check: Callable[[], list[Finding]]) -> str:
    function = check.func if isinstance(check, partial) else check
    return getattr(function, "__name__", "check").removeprefix("_check_")


def _check_python() -> list[Finding]:
    version = platform.python_version()
    text = f"{version} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, {_memory()}"
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        return [Finding("note", "python", f"{text}; supported versions are 3.11 and 3.12")]
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
        return [Finding("missing", "torch", f"cannot be imported ({_one_line(error)}). Run `make setup`.")]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return [Finding("ok", "torch", f"{torch.__version__}, {build}")]


def _check_gpus() -> list[Finding]:
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


def _check_plan(weights: str | Path | None) -> list[Finding]:
    from ..pipeline.planning import loading_workload
    from ..runtime.environment import find_weights
    from ..runtime.planner import Planner, weights_of
    from ..weights.store import WeightsFolder

    try:
        known_weights = weights_of(WeightsFolder(find_weights(weights)))
    except (MultiTalkError, KeyError):
        known_weights = None  # _check_weights reports the problem
    try:
        plan = Planner(weights=known_weights).plan(loading_workload())
    except MultiTalkError as error:
        return [Finding("missing", "plan", str(error))]
    return [Finding("ok", "plan", plan.description), *(Finding("note", "plan", note) for note in plan.notes)]


def _check_ffmpeg() -> list[Finding]:
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        text = f"PyAV cannot be imported ({_one_line(error)}). Run `make setup`."
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


def _check_weights(weights: str | Path | None) -> list[Finding]:
    from ..pipeline.planning import is_usable
    from ..request.presets import PRESETS
    from ..runtime.environment import find_weights
    from ..weights.store import WeightsFolder

    try:
        path = find_weights(weights)
        folder = WeightsFolder(path)
    except MultiTalkError as error:
        return [Finding("missing", "weights", str(error))]
    manifest = folder.manifest
    precisions = sorted(set(manifest.precision.values()))
    size = sum(record.size for record in manifest.files.values())
    text = f"{path}: {manifest.name}, {size / 1e9:.2f} GB, default preset {manifest.default_preset}"
    if manifest.default_preset == "quality" and is_usable(PRESETS["fast"], folder):
        text += " (fast if the device is slow)"
    merged = [f"{lora.name} (merged at {lora.scale:g})" for lora in manifest.loras]
    files = sorted(file.name for file in (path / "loras").glob("*.safetensors"))
    return [
        Finding("ok", "weights", text),
        Finding("ok", "models", ", ".join(manifest.audio_layers)),
        Finding("ok", "precision", ", ".join(precisions)),
        Finding("ok", "loras", ", ".join([*merged, *files]) or "none"),
        _optional_parts(path, manifest.has_fast_decoder),
    ]


def _optional_parts(path: Path, has_fast_decoder: bool) -> Finding:
    from ..weights.folders import has_voice_separator

    parts = {"fast decoder": has_fast_decoder, "voice separator": has_voice_separator(path)}
    present = ", ".join(name for name, is_there in parts.items() if is_there)
    missing = ", ".join(name for name, is_there in parts.items() if not is_there)
    if not missing:
        return Finding("ok", "optional", present)
    hint = f"missing: {missing}. Fetch and bake the published weights (again) to get them."
    return Finding("note", "optional", f"{present}; {hint}" if present else hint)


def _check_speech(weights: str | Path | None) -> list[Finding]:
    from ..runtime.environment import find_weights
    from ..speech.kokoro import KokoroEngine
    from ..speech.speak import choose_engine
    from ..weights.folders import SPACY_MODEL

    try:
        path = find_weights(weights)
    except MultiTalkError:
        path = None  # _check_weights reports the problem
    engine = choose_engine(path)
    text = f"{engine.name}, {len(engine.voices())} voices"
    if not isinstance(engine, KokoroEngine):
        return [Finding("ok", "speech", f"{text}; natural voices (Kokoro): multitalk fetch --speech")]
    findings = [Finding("ok", "speech", text)]
    if not (engine.folder / SPACY_MODEL / "config.cfg").is_file():
        hint = f"{SPACY_MODEL} is missing, so espeak-ng pronounces English. Fetch and bake again with it."
        findings.append(Finding("note", "english", hint))
    return findings


def _check_marks() -> list[Finding]:
    from ..marks.settings import MarkSettings, check_marks

    try:
        check_marks()
    except MultiTalkError as error:
        return [Finding("missing", "marks", str(error))]
    settings = MarkSettings.from_environment()
    signer = "certificate in C2PA_CERT" if settings.certificate else f"self-signed, in {settings.folder}"
    return [Finding("ok", "marks", f"Content Credentials, {settings.policy}; {signer}")]


def _check_packages() -> list[Finding]:
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


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
