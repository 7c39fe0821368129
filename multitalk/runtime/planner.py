"""The plan for this machine."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..errors import InvalidInput
from .attention import NATIVE, candidates
from .choose import Weights, budget_of, plan_for
from .machine import Machine, detect_machine
from .memory import Workload
from .plan import HardwarePlan
from .sentences import describe
from .settings import PlanSettings
from .sizes import ModelSizes

if TYPE_CHECKING:
    from ..weights.store import WeightsFolder


def weights_of(folder: WeightsFolder) -> Weights:
    """What a plan needs to know of a baked folder."""
    precision = folder.manifest.precision
    return Weights(ModelSizes.of(folder), precision["transformer"], precision["text_encoder"])


class Planner:
    """Plans jobs on this machine with one set of weights.

    Args:
        settings: What a person chose; None reads the environment.
        weights: The weights; None plans the published model in bf16 and leaves host memory unchecked.

    Raises:
        InvalidInput: The device doesn't exist here, or a setting can't be used.
    """

    def __init__(self, settings: PlanSettings | None = None, weights: Weights | None = None) -> None:
        self.settings = PlanSettings.from_environment() if settings is None else settings
        self.weights = weights
        machine = detect_machine(self.settings.device)
        self.machine = machine if weights is not None else replace(machine, host_memory=0)
        self.shared_by = 1
        self._working: tuple[str, str] | None = None
        self._notes: tuple[str, ...] = ()

    def plan(self, job: Workload | None = None) -> HardwarePlan:
        """Plan a job; None is a 480p clip of two people.

        Raises:
            InvalidInput: It doesn't fit.
        """
        plan = plan_for(self.machine, job, self.weights, self.settings, self.shared_by)
        if plan.device.type != "cuda":
            return plan
        if self._working is None:
            self._working, self._notes = _try_backends(plan, self.machine)
        attention, cross = self._working
        plan = replace(
            plan,
            attention_backend=attention,
            cross_attention_backend=cross,
            notes=(*plan.notes, *self._notes),
        )
        return replace(plan, description=describe(plan, self.machine, job or Workload()))

    def sharing(self, processes: int) -> Planner:
        """A planner of the same where so many processes share the transformer's matrices."""
        planner = copy(self)
        planner.shared_by = processes
        return planner

    def fits(self, job: Workload | None = None) -> bool:
        """Whether a job fits, also where a person's settings would let it run all the same."""
        try:
            plan = plan_for(self.machine, job, self.weights, self.settings, self.shared_by)
        except InvalidInput:
            return False
        return self.machine.gpu is None or plan.expected_peak_bytes <= budget_of(self.machine, self.settings)


def make_plan(
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    job: Workload | None = None,
    weights: Weights | None = None,
    settings: PlanSettings | None = None,
) -> HardwarePlan:
    """Choose what isn't given, for this machine.

    Args:
        device: None takes the first GPU, or the CPU where there is none.
        dtype: None takes bfloat16 on GPUs that compute in it, float16 on others and float32 on the CPU.
        job: None is a 480p clip of two people.
        weights: None is the published model in bf16.
        settings: What a person chose; None reads the environment.

    Raises:
        InvalidInput: The device doesn't exist here, a setting can't be used, or the job doesn't fit.
    """
    return Planner(with_arguments(settings, device, dtype), weights).plan(job)


def with_arguments(
    settings: PlanSettings | None, device: str | torch.device | None, dtype: torch.dtype | None
) -> PlanSettings:
    """Settings, or the environment's, with what a caller names over them."""
    settings = PlanSettings.from_environment() if settings is None else settings
    if device is not None:
        settings = replace(settings, device=str(device))
    if dtype is not None:
        settings = replace(settings, dtype=str(dtype).removeprefix("torch."))
    return settings


def _try_backends(plan: HardwarePlan, machine: Machine) -> tuple[tuple[str, str], tuple[str, ...]]:
    """The first backends that compute something right on the device, and why others don't."""
    from ..models.attention_backends import first_working

    names, _ = candidates(machine)
    notes: list[str] = []
    attention = first_working([plan.attention_backend, *names, NATIVE], plan.device, plan.dtype, notes)
    cross = first_working([plan.cross_attention_backend, NATIVE], plan.device, plan.dtype, notes)
    return (attention, cross), tuple(notes)
