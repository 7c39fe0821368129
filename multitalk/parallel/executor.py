"""The executor of process 0: an ordinary pipeline whose model calls a team shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..pipeline.executor import JobOutcome
from .failures import attempt
from .layout import ParallelSettings, choose_layout
from .messages import ClipStart, Goodbye, PrepareJob
from .shared_model import leading_clip
from .team import Team
from .weights import TransformerShare

if TYPE_CHECKING:
    import torch

    from ..pipeline.components import Components
    from ..runtime.plan import HardwarePlan
    from ..sampling.denoise import ClipSampling, Predictor
    from ..sampling.guidance import Branch, BranchConditions


class TeamExecutor:
    """Runs the transformer in all processes; see :class:`multitalk.pipeline.executor.TransformerExecutor`.

    Args:
        team: The processes.
        share: This process's transformer.
        components: The pipeline's networks; their placement moves all but the transformer.
        settings: How the processes share a video.
    """

    def __init__(
        self, team: Team, share: TransformerShare, components: Components, settings: ParallelSettings
    ) -> None:
        self.team = team
        self.share = share
        self.components = components
        self.settings = settings
        self.loras = share.audio_layers.loras

    def job(self) -> AbstractContextManager[JobOutcome]:
        """See :meth:`multitalk.pipeline.executor.TransformerExecutor.job`."""
        return self.team.job()

    def prepare(
        self, plan: HardwarePlan, loras: Sequence[tuple[Path, float]], audio_layers: str | None = None
    ) -> None:
        """See :meth:`multitalk.pipeline.executor.TransformerExecutor.prepare`."""
        message = PrepareJob(plan.streamed_blocks, tuple(loras), audio_layers)
        with self.team.together():
            self.team.channel.send(message)

        def place() -> None:
            self.components.place(plan)
            self.share.prepare(message)

        self.team.agree(attempt(place)[1])

    @contextmanager
    def velocity_model(
        self,
        sampling: ClipSampling,
        condition: torch.Tensor,
        branches: Mapping[Branch, BranchConditions],
        batch_branches: bool,
    ) -> Iterator[Predictor]:
        """See :meth:`multitalk.pipeline.executor.TransformerExecutor.velocity_model`."""
        transformer = self.share.transformer
        layout = choose_layout(
            self.team.size,
            transformer.config.num_attention_heads,
            len(branches),
            self.settings.branch_groups,
            even=self.share.blocks is not None,
        )
        clip = ClipStart(
            layout=layout,
            condition=condition,
            branches=branches,
            computed=sampling.computed,
            batched=batch_branches,
            cache=sampling.cache,
            steps=sampling.settings.steps,
            resolution=sampling.resolution,
        )
        with leading_clip(self.team, transformer, clip) as model:
            yield model

    def close(self) -> None:
        """Let :meth:`multitalk.parallel.follower.Follower.serve` return in the other processes."""
        self.team.channel.send(Goodbye())
        self.team.watch.stop()
