"""The hardware plan and the LoRAs of a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..conditioning.resolve import resolve_settings
from ..errors import InvalidInput, MultiTalkError
from ..request.parts import LoraSpec
from ..request.presets import PRESETS, Preset
from ..runtime.environment import max_audio_seconds
from ..runtime.memory import Workload
from ..runtime.plan import HardwarePlan
from ..runtime.planner import Planner
from ..sampling.guidance import needed_branches
from ..sampling.schedule import sampled_steps
from ..sampling.taylorseer import computed_share
from ..weights.manifest import LORA_FOLDER
from ..weights.store import WeightsFolder

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest

# Estimated seconds of a clip in the preset "quality" from which "fast" is the default where its LoRA exists.
SLOW_CLIP_SECONDS = 300.0
# An upper limit in seconds, should MAX_AUDIO_SECONDS be huge or infinite; no device has memory for so much.
_LONGEST = 1e6


def longest_sound() -> float:
    """Return the seconds of the longest audio: ``MAX_AUDIO_SECONDS``, or the planner's default if longer.

    Raises:
        InvalidInput: The variable is not a number of seconds above 0.
    """
    return max(Workload.sound_seconds, min(max_audio_seconds(), _LONGEST))


def loading_workload() -> Workload:
    """Return the workload to load the weights for: a 480p clip of two people with the longest audio."""
    return Workload(sound_seconds=longest_sound())


def workload_of(request: GenerationRequest, preset: Preset, sound_seconds: float) -> Workload:
    """Describe a request to the planner.

    Args:
        request: The job.
        preset: Provides the settings that the request leaves unset.
        sound_seconds: Length of the longest audio that the audio encoder may get.
    """
    settings = resolve_settings(request, preset)
    steps = sampled_steps(settings.sampling.steps, request.strength if request.dub == "exact" else None)
    extrapolates = request.cache is not None and request.cache.name == "taylorseer"
    if request.cache is not None and extrapolates:
        steps = round(steps * computed_share(request.cache, steps))
    return Workload(
        height=settings.height,
        width=settings.width,
        people=request.people,
        frames=request.frames_per_clip,
        calls=steps * len(settings.branches),
        branches=len(settings.branches),
        keeps_residuals=request.teacache is not None or (request.cache is not None and not extrapolates),
        sound_seconds=sound_seconds,
        fast_decoder=request.vae == "fast",
        preview=request.preview,
    )


def default_preset(folder: WeightsFolder, plan: HardwarePlan) -> str:
    """Return the preset of requests that set none: that of the weights, or "fast" on a slow device.

    Args:
        folder: The weights.
        plan: The plan they were loaded with (:func:`loading_workload`).
    """
    name = folder.manifest.default_preset
    if name != "quality" or not _is_slow(plan):
        return name
    return "fast" if is_usable(PRESETS["fast"], folder) else name


def is_usable(preset: Preset, folder: WeightsFolder) -> bool:
    """Return whether weights support a preset."""
    try:
        job_loras(folder, preset)
    except MultiTalkError:
        return False
    return True


def _is_slow(plan: HardwarePlan) -> bool:
    """Return whether a clip in the preset "quality" takes long, or cannot be estimated."""
    if plan.expected_seconds is None:
        return True
    quality = PRESETS["quality"]
    calls = quality.steps * len(needed_branches(quality.text_guidance, quality.audio_guidance))
    return plan.expected_seconds / loading_workload().calls * calls > SLOW_CLIP_SECONDS


class JobPlanner:
    """Plans each job of a loaded pipeline with as few streamed blocks as the job allows.

    Args:
        planner: Plans on this machine with the weights; None uses `loaded` for every job.
        loaded: The plan that the weights were loaded with.
    """

    def __init__(self, planner: Planner | None, loaded: HardwarePlan) -> None:
        self._planner = planner
        self._loaded = loaded
        self._plans: dict[Workload, HardwarePlan] = {}

    def plan(self, request: GenerationRequest, preset: Preset) -> HardwarePlan:
        """Plan a job.

        Raises:
            InvalidInput: The job does not fit into the device's memory; the message says what to change.
        """
        if self._planner is None or self._loaded.device.type != "cuda":
            return self._loaded
        workload = workload_of(request, preset, longest_sound())
        if workload not in self._plans:
            # compilation was decided when the weights were loaded
            self._plans[workload] = replace(self._planner.plan(workload), compile=self._loaded.compile)
        return self._plans[workload]


def job_loras(
    folder: WeightsFolder, preset: Preset, extra: Sequence[LoraSpec] = ()
) -> list[tuple[Path, float]]:
    """List the LoRAs of a job, except those that are merged into the weights.

    Args:
        folder: The weights.
        preset: Preset of the job.
        extra: LoRAs of the request.

    Returns:
        Files and scales.

    Raises:
        InvalidInput: The weights contain the merged LoRA of another preset, or lack this preset's LoRA.
        WeightsError: The preset's LoRA file was baked with the weights and is now missing.
    """
    merged = {lora.name for lora in folder.manifest.loras}
    foreign = [other for other in PRESETS.values() if other.lora in merged and other.lora != preset.lora]
    if foreign:
        raise InvalidInput(
            f"preset '{preset.name}' cannot be used: the LoRA of preset '{foreign[0].name}' is merged into "
            f"these weights. Use preset '{foreign[0].name}', or bake weights without its LoRA.",
            "preset",
        )
    loras = []
    if preset.lora and preset.lora not in merged:
        baked = f"{LORA_FOLDER}/{preset.lora}" in folder.manifest.files
        if not baked and not (folder.path / LORA_FOLDER / preset.lora).is_file():
            raise InvalidInput(
                f"preset '{preset.name}' cannot be used: its LoRA {preset.lora} is missing from these "
                f"weights. Choose another preset, or copy the file to their folder {LORA_FOLDER}.",
                "preset",
            )
        loras.append((folder.lora_file(preset.lora), preset.lora_scale))
    return loras + [(lora.path, lora.scale) for lora in extra]
