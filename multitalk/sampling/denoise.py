"""The sampling loop of a clip, and its settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch

from ..models.transformer import MultiTalkTransformer
from ..request.parts import CacheSpec
from ..request.presets import SamplingSettings
from .cache import cache_context
from .guidance import Branch, Guidance, ModelCall
from .pace import CallPace, DeviceEvent, record_event
from .schedule import FixedFrames, euler_step
from .taylorseer import Extrapolations

OnClean = Callable[[int, torch.Tensor], None]


class Predictor(Protocol):
    """Makes the predictions of a step."""

    @property
    def calls(self) -> Sequence[Any]:
        """Calls that together predict all branches."""
        ...

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, step: int, call: Any
    ) -> dict[Branch, torch.Tensor]:
        """Make the predictions of a call, each ``C T h w`` float32 like the latents."""
        ...


class VelocityModel:
    """Predicts the velocity of the guidance branches of one clip.

    With TeaCache (docs/MODEL.md, section 5), skipped steps reuse the blocks' residual of the last computed
    step. It is kept per model call and only for this clip.

    Args:
        transformer: The model.
        condition: ``20 T h w``.
        calls: The model calls of a step.
        computed: For each step, whether the blocks run; None runs all steps.
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
        """Predict the velocity at latents ``C T h w``: one ``C T h w`` float32 per branch."""
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
                audio_scales=conditions.audio_scales,
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
    motion: FixedFrames | None,
    before_call: Callable[[], None],
    after_step: Callable[[int], None],
    on_clean: OnClean | None = None,
    record: Callable[[torch.device], DeviceEvent | None] = record_event,
) -> torch.Tensor:
    """Sample the latents of one clip.

    Args:
        model: Predicts the velocity.
        noise: ``C T h w`` float32.
        timesteps: ``steps + 1`` float32 on the latents' device, the last 0.
        guidance: Combines the branches; created for this clip.
        motion: Latent frames that are not sampled; None for none.
        before_call: Called before every model call; may raise to stop.
        after_step: Called with the number of finished steps.
        on_clean: Called after each step but the last with its number, from 1, and the clean latents that the
            step predicts; None for none.
        record: Records an event after all queued work; returns None on a synchronous device.

    Returns:
        ``C T h w`` float32.
    """
    pace = CallPace(after_step, lambda: record(noise.device))
    latents = noise
    if motion is not None:
        latents = motion.apply(latents, timesteps[0])
    for step, (timestep, next_timestep) in enumerate(pairwise(timesteps)):
        predictions: dict[Branch, torch.Tensor] = {}
        for number, call in enumerate(model.calls, 1):
            before_call()
            predictions |= model.predict(latents, timestep, step, call)
            pace.queued(step + 1 if number == len(model.calls) else None)
        velocity = guidance.combine(predictions)
        if on_clean is not None and step + 2 < len(timesteps):
            on_clean(step + 1, euler_step(latents, velocity, timestep, timesteps[-1]))
        latents = euler_step(latents, velocity, timestep, next_timestep)
        if motion is not None:
            latents = motion.apply(latents, next_timestep)
    pace.finish()
    return latents


@dataclass(frozen=True)
class ClipSampling:
    """Sampling parameters of all clips of a job.

    Attributes:
        settings: Steps, shift and guidance scales.
        timesteps: ``steps+1`` float32, the last 0, on the device.
        computed: For each step, whether the blocks run (TeaCache); None runs all steps.
        generator: Random numbers of the job. Its device type is part of what a seed reproduces.
        apg: Whether to use adaptive projected guidance.
        cache: A cache other than TeaCache; None for none.
        resolution: "480p" or "720p": selects constants of the caches.
        extrapolations: By step, how TaylorSeer replaces its model calls; None runs all.
    """

    settings: SamplingSettings
    timesteps: torch.Tensor
    computed: list[bool] | None
    generator: torch.Generator
    apg: bool
    cache: CacheSpec | None
    resolution: str
    extrapolations: Extrapolations | None = None
