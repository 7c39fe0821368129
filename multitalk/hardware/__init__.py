"""What this machine is, and how the model runs on it."""

from .choose import Weights, plan_for
from .machine import Gpu, Machine, detect_machine
from .make import Planner, make_plan, weights_of, with_arguments
from .memory import Job
from .plan import DEFAULT_BACKEND, PARTS, HardwarePlan
from .settings import PlanSettings
from .sizes import PUBLISHED, ModelSizes

__all__ = [
    "DEFAULT_BACKEND",
    "PARTS",
    "PUBLISHED",
    "Gpu",
    "HardwarePlan",
    "Job",
    "Machine",
    "ModelSizes",
    "PlanSettings",
    "Planner",
    "Weights",
    "detect_machine",
    "make_plan",
    "plan_for",
    "weights_of",
    "with_arguments",
]
