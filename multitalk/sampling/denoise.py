"""The sampling loop of one clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch

from ..models.transformer import MultiTalkTransformer
from .guidance import Branch, Guidance
from .motion import MotionFrames
from .schedule import euler_step


@dataclass(frozen=True)
class BranchConditions:
    """What one guidance branch shows the transformer, projected already.

    Attributes:
        text_hidden_states: ``1 text_len D``.
        image_hidden_states: ``1 257 D``.
        audio_hidden_states: ``1 T A C``.
        person_masks: ``3 S`` where two people speak in it, else None.
    """

    text_hidden_states: torch.Tensor
    image_hidden_states: torch.Tensor
    audio_hidden_states: torch.Tensor
    person_masks: torch.Tensor | None


class VelocityModel:
    """Predicts the velocity of each branch for one clip, reusing the blocks' residual on skipped steps.

    The residuals are one per branch and belong to this clip alone (REFERENCE, section 5: TeaCache).

    Args:
        transformer: The model.
        condition: ``20 T h w``.
        branches: The conditions of each guidance branch.
        computed: Whether each step runs the blocks; None runs them all.
    """

    def __init__(
        self,
        transformer: MultiTalkTransformer,
        condition: torch.Tensor,
        branches: Mapping[Branch, BranchConditions],
        computed: list[bool] | None = None,
    ) -> None:
        self.transformer = transformer
        self.condition = condition
        self.branches = branches
        self.computed = computed
        self.residuals: dict[Branch, torch.Tensor] = {}

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, step: int, branch: Branch
    ) -> torch.Tensor:
        """Predict for latents ``C T h w``; the result is of that shape, float32."""
        conditions = self.branches[branch]
        reuse = self.computed is not None and not self.computed[step]
        prediction, residual = self.transformer(
            torch.cat((latents, self.condition))[None],
            timestep.reshape(1),
            conditions.text_hidden_states,
            conditions.image_hidden_states,
            conditions.audio_hidden_states,
            person_masks=conditions.person_masks,
            block_residual=self.residuals[branch] if reuse else None,
            return_block_residual=True,
        )
        if self.computed is not None:
            self.residuals[branch] = residual
        return prediction[0].float()


def denoise(
    model: VelocityModel,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    guidance: Guidance,
    motion: MotionFrames | None,
    before_call: Callable[[], None],
    after_step: Callable[[int], None],
) -> torch.Tensor:
    """Sample the latents of one clip.

    Args:
        model: Predicts the velocity.
        noise: ``C T h w`` float32.
        timesteps: ``steps + 1`` float32 on the latents' device, the last 0.
        guidance: Combines the branches; fresh for this clip.
        motion: The end of the clip before, or None for the first clip.
        before_call: Called before every model call; may raise to stop.
        after_step: Called with the number of steps done.

    Returns:
        ``C T h w`` float32.
    """
    latents = noise
    if motion is not None:
        latents = motion.apply(latents, timesteps[0])
    for step, (timestep, next_timestep) in enumerate(pairwise(timesteps)):
        predictions: dict[Branch, torch.Tensor] = {}
        for branch in guidance.branches:
            before_call()
            predictions[branch] = model.predict(latents, timestep, step, branch)
        latents = euler_step(latents, guidance.combine(predictions), timestep, next_timestep)
        if motion is not None:
            latents = motion.apply(latents, next_timestep)
        after_step(step + 1)
    return latents
