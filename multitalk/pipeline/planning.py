"""The hardware plans of a pipeline: one to load the weights with, and one for each job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..conditioning.resolve import resolve_settings
from ..request.presets import Preset
from ..runtime.limits import max_audio_seconds
from ..runtime.memory import Workload
from ..runtime.plan import HardwarePlan
from ..runtime.planner import Planner

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest


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
    return Workload(
        height=settings.height,
        width=settings.width,
        people=request.people,
        frames=request.frames_per_clip,
        calls=settings.sampling.steps * len(settings.branches),
        branches=len(settings.branches),
        keeps_residuals=request.teacache is not None or request.cache is not None,
        sound_seconds=sound_seconds,
    )


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
