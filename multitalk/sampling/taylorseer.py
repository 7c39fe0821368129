"""TaylorSeer: on some steps, the transformer's output is extrapolated from earlier steps (arXiv 2503.06923).

diffusers' form extrapolates the output of every attention layer, which takes tens of gigabytes for a clip,
and counts steps, although their timesteps are not evenly spaced. Here the output of the whole transformer is
extrapolated, in the timestep: a few megabytes, and no model call at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from .cache import ALWAYS_COMPUTED

if TYPE_CHECKING:
    from ..request.parts import CacheSpec
    from .denoise import Predictor
    from .guidance import Branch

# By step, the factors of the earlier steps' outputs; None for a step that is computed.
Extrapolations = list[dict[int, float] | None]


def extrapolations(spec: CacheSpec, timesteps: torch.Tensor) -> Extrapolations:
    """Decide before sampling which steps are computed, and how the others follow from them.

    The first steps and the last one are computed, and between them one of ``spec.interval``.

    Args:
        spec: The cache: its interval and its order.
        timesteps: ``steps + 1``, the last 0.
    """
    times = timesteps.double().tolist()  # one copy instead of a synchronization per step
    last = len(times) - 2
    computed: list[int] = []
    plan: Extrapolations = []
    for step in range(last + 1):
        sources = computed[-spec.order - 1 :]
        is_due = step < ALWAYS_COMPUTED or step == last or (step - ALWAYS_COMPUTED + 1) % spec.interval == 0
        # an extreme shift gives several steps the same time, between which nothing can be extrapolated
        if is_due or len({times[source] for source in sources}) < len(sources):
            computed.append(step)
            plan.append(None)
        else:
            plan.append(_factors(times, sources, step))
    return plan


def computed_share(spec: CacheSpec, steps: int) -> float:
    """Return the share of the steps that are computed."""
    plan = extrapolations(spec, torch.arange(steps, -1, -1))
    return sum(factors is None for factors in plan) / steps


def _factors(times: Sequence[float], sources: Sequence[int], step: int) -> dict[int, float]:
    """Return the factors of the polynomial through some steps' outputs at another step (Lagrange)."""
    factors = {}
    for source in sources:
        factors[source] = 1.0
        for other in sources:
            if other != source:
                factors[source] *= (times[step] - times[other]) / (times[source] - times[other])
    return factors


class ExtrapolatingModel:
    """Predicts with another model on some steps, and extrapolates on the others; made for one clip.

    Args:
        model: Makes the predictions of the computed steps.
        plan: See :func:`extrapolations`.
    """

    def __init__(self, model: Predictor, plan: Extrapolations) -> None:
        self._model = model
        self._plan = plan
        self._outputs: dict[Any, dict[int, dict[Branch, torch.Tensor]]] = {}

    @property
    def calls(self) -> Sequence[Any]:
        """The calls of the other model."""
        return self._model.calls

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, step: int, call: Any
    ) -> dict[Branch, torch.Tensor]:
        """See :meth:`.denoise.Predictor.predict`."""
        outputs = self._outputs.setdefault(call if isinstance(call, int) else call.name, {})
        factors = self._plan[step]
        if factors is None:
            outputs[step] = self._model.predict(latents, timestep, step, call)
            needed = {source for later in self._plan[step:] if later is not None for source in later}
            for old in [number for number in outputs if number not in needed and number != step]:
                del outputs[old]
            return outputs[step]
        earlier = [(factor, outputs[source]) for source, factor in factors.items()]
        return {
            branch: torch.stack([factor * predictions[branch] for factor, predictions in earlier]).sum(0)
            for branch in earlier[0][1]
        }
