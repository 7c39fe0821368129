"""Which plan a pipeline loads by, and which one each of its jobs runs by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..conditioning.job_settings import resolve_settings
from ..request.presets import Preset
from ..runtime.limits import max_audio_seconds
from ..runtime.memory import Workload
from ..runtime.plan import HardwarePlan
from ..runtime.planner import Planner

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest


# For a limit that is none: ten days of sound fit on no device, however large.
_ANY_LENGTH = 1e6


def longest_sound() -> float:
    """Seconds of sound that any job may have: ``MAX_AUDIO_SECONDS``, and what a plan counts on at least.

    Raises:
        InvalidInput: The variable isn't a number of seconds above 0.
    """
    return max(Workload.sound_seconds, min(max_audio_seconds(), _ANY_LENGTH))


def loading_workload() -> Workload:
    """What the plan is for that weights are loaded by: a 480p clip of two people, and any sound."""
    return Workload(sound_seconds=longest_sound())


def workload_of(request: GenerationRequest, preset: Preset, sound_seconds: float) -> Workload:
    """What a plan needs to know of a request.

    Args:
        request: The job.
        preset: Where settings come from that the request leaves open.
        sound_seconds: The longest sound the audio encoder may get.
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
    """Plans each job on a loaded pipeline: as few blocks streamed as that job needs.

    Args:
        planner: Plans on this machine with the weights; None for a plan that a person fixed.
        loaded: The plan the weights were loaded by.
    """

    def __init__(self, planner: Planner | None, loaded: HardwarePlan) -> None:
        self._planner = planner
        self._loaded = loaded
        self._known: dict[Workload, HardwarePlan] = {}

    def plan(self, request: GenerationRequest, preset: Preset) -> HardwarePlan:
        """The plan of a job.

        Raises:
            InvalidInput: The job doesn't fit in the device's memory; the sentence says what to change.
        """
        if self._planner is None or self._loaded.device.type != "cuda":
            return self._loaded
        job = workload_of(request, preset, longest_sound())
        if job not in self._known:
            plan = self._planner.plan(job)
            # what was decided when the weights were loaded stays
            self._known[job] = replace(plan, compile=self._loaded.compile)
        return self._known[job]
