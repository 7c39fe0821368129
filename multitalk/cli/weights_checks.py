"""What ``multitalk doctor`` finds out about weights: the hardware plan, their parts, speech and marks."""

from __future__ import annotations

from pathlib import Path

from ..errors import MultiTalkError
from .installation_checks import Finding


def check_plan(weights: str | Path | None) -> list[Finding]:
    """Make the plan for this machine."""
    from ..pipeline.planning import loading_workload
    from ..runtime.environment import find_weights
    from ..runtime.planner import Planner, weights_of
    from ..weights.store import WeightsFolder

    try:
        known_weights = weights_of(WeightsFolder(find_weights(weights)))
    except (MultiTalkError, KeyError):
        known_weights = None  # check_weights reports the problem
    try:
        plan = Planner(weights=known_weights).plan(loading_workload())
    except MultiTalkError as error:
        return [Finding("missing", "plan", str(error))]
    return [Finding("ok", "plan", plan.description), *(Finding("note", "plan", note) for note in plan.notes)]


def check_weights(weights: str | Path | None) -> list[Finding]:
    """Read the manifest, and list the models and LoRAs."""
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


def check_speech(weights: str | Path | None) -> list[Finding]:
    """Say which engine speaks."""
    from ..runtime.environment import find_weights
    from ..speech.kokoro import KokoroEngine
    from ..speech.speak import choose_engine
    from ..weights.folders import SPACY_MODEL

    try:
        path = find_weights(weights)
    except MultiTalkError:
        path = None  # check_weights reports the problem
    engine = choose_engine(path)
    text = f"{engine.name}, {len(engine.voices())} voices"
    if not isinstance(engine, KokoroEngine):
        return [Finding("ok", "speech", f"{text}; natural voices (Kokoro): multitalk fetch --speech")]
    findings = [Finding("ok", "speech", text)]
    if not (engine.folder / SPACY_MODEL / "config.cfg").is_file():
        hint = f"{SPACY_MODEL} is missing, so espeak-ng pronounces English. Fetch and bake again with it."
        findings.append(Finding("note", "english", hint))
    return findings


def check_marks() -> list[Finding]:
    """Check the variables of the marks."""
    from ..marks import settings as marks

    try:
        marks.check_marks()
    except MultiTalkError as error:
        return [Finding("missing", "marks", str(error))]
    settings = marks.MarkSettings.from_environment()
    signer = "certificate in C2PA_CERT" if settings.certificate else f"self-signed, in {settings.folder}"
    return [Finding("ok", "marks", f"Content Credentials, {settings.policy}; {signer}")]
