"""Plan jobs on this machine."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..errors import InvalidInput
from ..weights.folders import audio_layer_files
from .attention import NATIVE, candidates
from .choose import Weights, plan_for
from .fit import budget_of
from .machine import Machine, detect_machine
from .memory import Workload
from .plan import HardwarePlan, describe
from .settings import PlanSettings
from .sizes import ModelSizes

if TYPE_CHECKING:
    from ..weights.store import WeightsFolder


def weights_of(folder: WeightsFolder) -> Weights:
    """Read the sizes and precision of a baked folder."""
    precision = folder.manifest.precision
    layers = sum(path.stat().st_size for path in audio_layer_files(folder.path))
    return Weights(ModelSizes.of(folder), precision["transformer"], precision["text_encoder"], layers)


class Planner:
    """Plans jobs on this machine for one set of weights.

    Args:
        settings: Settings that override the plan; None reads the environment.
        weights: The weights; None plans for the published model in bf16 without checking host memory.

    Raises:
        InvalidInput: The device does not exist, or a setting is invalid.
    """

    def __init__(self, settings: PlanSettings | None = None, weights: Weights | None = None) -> None:
        self.settings = PlanSettings.from_environment() if settings is None else settings
        self.weights = weights
        machine = detect_machine(self.settings.device)
        self.machine = machine if weights is not None else replace(machine, host_memory=0)
        self.shared_by = 1
        self._working: tuple[str, str] | None = None
        self._notes: tuple[str, ...] = ()

    def plan(self, workload: Workload | None = None) -> HardwarePlan:
        """Plan a job.

        Args:
            workload: The job; None is a 480p clip of two people.

        Raises:
            InvalidInput: The job does not fit.
        """
        plan = self._choose(workload)
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
        return replace(plan, description=describe(plan, self.machine, workload or Workload()))

    def sharing(self, processes: int) -> Planner:
        """Return a copy for processes that share the transformer's matrices."""
        planner = copy(self)
        planner.shared_by = processes
        return planner

    def fits(self, workload: Workload | None = None) -> bool:
        """Return whether a job fits, even if the settings force a plan for a job that does not."""
        try:
            plan = self._choose(workload)
        except InvalidInput:
            return False
        return self.machine.gpu is None or plan.expected_peak_bytes <= budget_of(self.machine, self.settings)

    def _choose(self, workload: Workload | None) -> HardwarePlan:
        return plan_for(self.machine, workload, self.weights, self.settings, self.shared_by)


def with_arguments(
    settings: PlanSettings | None, device: str | torch.device | None, dtype: torch.dtype | None
) -> PlanSettings:
    """Return settings, or the environment's if None, with a caller's device and dtype applied."""
    settings = PlanSettings.from_environment() if settings is None else settings
    if device is not None:
        settings = replace(settings, device=str(device))
    if dtype is not None:
        settings = replace(settings, dtype=str(dtype).removeprefix("torch."))
    return settings


def _try_backends(plan: HardwarePlan, machine: Machine) -> tuple[tuple[str, str], tuple[str, ...]]:
    """Return the first backends that give correct results on the device, and notes on those that do not."""
    from ..models.attention_backends import first_working

    names, _ = candidates(machine)
    notes: list[str] = []
    attention = first_working([plan.attention_backend, *names, NATIVE], plan.device, plan.dtype, notes)
    cross = first_working([plan.cross_attention_backend, NATIVE], plan.device, plan.dtype, notes)
    return (attention, cross), tuple(notes)
