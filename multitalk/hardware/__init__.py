"""What this machine is, and how the model runs on it."""

from .plan import DEFAULT_BACKEND, PARTS, HardwarePlan, make_plan

__all__ = ["DEFAULT_BACKEND", "PARTS", "HardwarePlan", "make_plan"]
