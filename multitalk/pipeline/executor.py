"""How a pipeline runs its transformer: in this process, or in several (:mod:`multitalk.parallel`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import MultiTalkError
from ..sampling.cache import use_cache
from ..sampling.denoise import ClipSampling, Predictor, VelocityModel
from ..sampling.guidance import Branch, BranchConditions, make_calls
from ..weights.lora_switch import LoraSwitcher, activate_for_job
from .results import GenerationResult

if TYPE_CHECKING:
    import torch

    from ..runtime.plan import HardwarePlan
    from .components import Components


@dataclass
class JobOutcome:
    """How a job ended.

    Attributes:
        result: The finished video; None for a stream of clips.
        error: The error that ended the job, or None.
    """

    result: GenerationResult | None = None
    error: MultiTalkError | None = None


class TransformerExecutor(Protocol):
    """Runs the transformer of a pipeline; everything else is the pipeline's work."""

    loras: LoraSwitcher

    def job(self) -> AbstractContextManager[JobOutcome]:
        """Enclose one job; the caller stores its result in the outcome."""
        ...

    def prepare(
        self, plan: HardwarePlan, loras: Sequence[tuple[Path, float]], audio_layers: str | None = None
    ) -> None:
        """Place the weights, and activate the audio layers and the LoRAs of a job.

        Args:
            plan: The job's plan.
            loras: Files and scales.
            audio_layers: One of :attr:`Components.audio_layer_sets`; None is the first.

        Raises:
            InvalidInput: A LoRA of the request cannot be used, or the weights lack the audio layers.
            WeightsError: A LoRA of the weights folder cannot be used.
        """
        ...

    def velocity_model(
        self,
        sampling: ClipSampling,
        condition: torch.Tensor,
        branches: Mapping[Branch, BranchConditions],
        batch_branches: bool,
    ) -> AbstractContextManager[Predictor]:
        """Provide the velocity model of one clip.

        Args:
            sampling: Sampling settings of the job.
            condition: ``20 T h w``.
            branches: Conditions of every guidance branch.
            batch_branches: Whether branches may share a model call.
        """
        ...

    def close(self) -> None:
        """Release what the executor holds; there are no more jobs."""
        ...


class LocalExecutor:
    """Runs the transformer in this process.

    Args:
        components: The networks.
        weights: Folder of the weights, for error messages about its LoRAs.
        device: Device of the computation.
    """

    def __init__(self, components: Components, weights: Path, device: torch.device) -> None:
        self.components = components
        self.weights = weights
        layers = components.audio_layers
        self.loras = LoraSwitcher(components.transformer, device) if layers is None else layers.loras

    @contextmanager
    def job(self) -> Iterator[JobOutcome]:
        """See :meth:`TransformerExecutor.job`."""
        yield JobOutcome()

    def prepare(
        self, plan: HardwarePlan, loras: Sequence[tuple[Path, float]], audio_layers: str | None = None
    ) -> None:
        """See :meth:`TransformerExecutor.prepare`."""
        self.components.place(plan)
        if self.components.audio_layers is not None:
            self.components.audio_layers.use(audio_layers)
        activate_for_job(self.loras, loras, self.weights)

    @contextmanager
    def velocity_model(
        self,
        sampling: ClipSampling,
        condition: torch.Tensor,
        branches: Mapping[Branch, BranchConditions],
        batch_branches: bool,
    ) -> Iterator[Predictor]:
        """See :meth:`TransformerExecutor.velocity_model`."""
        transformer = self.components.transformer
        calls = make_calls(branches, batch_branches)
        with use_cache(transformer, sampling.cache, sampling.settings.steps, sampling.resolution):
            yield VelocityModel(transformer, condition, calls, sampling.computed)

    def close(self) -> None:
        """Nothing to release."""
