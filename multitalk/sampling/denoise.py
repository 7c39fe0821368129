"""The sampling loop of one clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch

from ..models.transformer import MultiTalkTransformer
from .branches import ModelCall
from .cache import cache_context
from .guidance import Branch, Guidance
from .motion import MotionFrames
from .pace import CallPace, Mark, cuda_mark
from .schedule import euler_step


class Predictor(Protocol):
    """What makes the predictions of a step."""

    @property
    def calls(self) -> Sequence[Any]:
        """One after another, these make the predictions of all branches."""
        ...

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, step: int, call: Any
    ) -> dict[Branch, torch.Tensor]:
        """The predictions that a call makes, ``C T h w`` float32 like the latents."""
        ...


class VelocityModel:
    """Predicts the velocity of each branch for one clip, reusing the blocks' residual on skipped steps.

    What is kept from step to step is one per model call and belongs to this clip alone (docs/MODEL.md, section 5:
    TeaCache).

    Args:
        transformer: The model.
        condition: ``20 T h w``.
        calls: The model calls of every step.
        computed: Whether each step runs the blocks; None runs them all.
    """

    def __init__(
        self,
        transformer: MultiTalkTransformer,
        condition: torch.Tensor,
        calls: Sequence[ModelCall],
        computed: list[bool] | None = None,
    ) -> None:
        self.transformer = transformer
        self.condition = condition
        self.calls = tuple(calls)
        self.computed = computed
        self.residuals: dict[str, torch.Tensor] = {}

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, step: int, call: ModelCall
    ) -> dict[Branch, torch.Tensor]:
        """Predict for latents ``C T h w``; the results are of that shape, float32."""
        conditions = call.conditions
        batch = len(call.branches)
        keep = self.computed is not None
        reuse = self.computed is not None and not self.computed[step]
        with cache_context(self.transformer, call.name):
            output = self.transformer(
                torch.cat((latents, self.condition)).expand(batch, -1, -1, -1, -1),
                timestep.reshape(1),
                conditions.text_hidden_states,
                conditions.image_hidden_states,
                conditions.audio_hidden_states,
                person_masks=conditions.person_masks,
                block_residual=self.residuals[call.name] if reuse else None,
                return_block_residual=keep,
            )
        if keep:
            output, self.residuals[call.name] = output
        return dict(zip(call.branches, output.float().unbind(0), strict=True))


def denoise(
    model: Predictor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    guidance: Guidance,
    motion: MotionFrames | None,
    before_call: Callable[[], None],
    after_step: Callable[[int], None],
    mark: Callable[[torch.device], Mark | None] = cuda_mark,
) -> torch.Tensor:
    """Sample the latents of one clip.

    Args:
        model: Predicts the velocity.
        noise: ``C T h w`` float32.
        timesteps: ``steps + 1`` float32 on the latents' device, the last 0.
        guidance: Combines the branches; fresh for this clip.
        motion: The end of the clip before, or None for the first clip.
        before_call: Called before every model call; may raise to stop.
        after_step: Called with the number of steps whose model calls are done.
        mark: Marks the end of what is queued on the device; None where it works at once.

    Returns:
        ``C T h w`` float32.
    """
    pace = CallPace(after_step, lambda: mark(noise.device))
    latents = noise
    if motion is not None:
        latents = motion.apply(latents, timesteps[0])
    for step, (timestep, next_timestep) in enumerate(pairwise(timesteps)):
        predictions: dict[Branch, torch.Tensor] = {}
        for number, call in enumerate(model.calls, 1):
            before_call()
            predictions |= model.predict(latents, timestep, step, call)
            pace.queued(step + 1 if number == len(model.calls) else None)
        latents = euler_step(latents, guidance.combine(predictions), timestep, next_timestep)
        if motion is not None:
            latents = motion.apply(latents, next_timestep)
    pace.finish()
    return latents
