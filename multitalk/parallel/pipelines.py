"""The pipeline in several processes: the one that leads, and those that follow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from ..errors import WeightsError
from ..pipeline.pipeline import MultiTalkPipeline
from ..pipeline.results import Clip, GenerationResult
from ..runtime.placement import Placement
from ..runtime.plan import HardwarePlan
from ..runtime.planner import Planner
from ..weights.lora_switch import LoraSwitcher, activate_for_job
from ..weights.store import WeightsFolder
from .failures import attempt, sentence_of
from .layout import ParallelSettings, choose_layout
from .messages import ClipStart, Goodbye, SetUp
from .shared_model import follow_clip, leading_clip
from .team import JobEnd, Team
from .weights import SharedBlocks

if TYPE_CHECKING:
    from ..models.transformer import MultiTalkTransformer
    from ..pipeline.components import Components
    from ..sampling.branches import BranchConditions
    from ..sampling.clip_sampling import ClipSampling
    from ..sampling.denoise import Predictor
    from ..sampling.guidance import Branch


class LeadingPipeline(MultiTalkPipeline):
    """Process 0: a pipeline like any other, whose model calls the others share.

    Args:
        components, folder, plan: See :class:`multitalk.pipeline.pipeline.MultiTalkPipeline`.
        team: The processes.
        planner: Plans each job anew; None runs them all by `plan`.
        settings: A person's own choices.
        placement: What moves the transformer's weights; None where they are shared.
        blocks: What brings the transformer's weights where they are shared.
    """

    def __init__(
        self,
        components: Components,
        folder: WeightsFolder,
        plan: HardwarePlan,
        planner: Planner | None,
        team: Team,
        settings: ParallelSettings,
        placement: Placement | None,
        blocks: SharedBlocks | None,
    ) -> None:
        super().__init__(components, folder, plan, planner)
        self.team = team
        self.placement = placement
        self.settings = settings
        self.blocks = blocks

    def generate(self, *args: Any, **kwargs: Any) -> GenerationResult:
        """See :meth:`multitalk.pipeline.pipeline.MultiTalkPipeline.generate`."""
        with self.team.job() as job:
            job.result = super().generate(*args, **kwargs)
        return job.result

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Clip]:
        """See :meth:`multitalk.pipeline.pipeline.MultiTalkPipeline.stream`."""
        with self.team.job():
            yield from super().stream(*args, **kwargs)

    def close(self) -> None:
        """Let the other processes' :meth:`FollowingPipeline.serve` return."""
        self.team.channel.send(Goodbye())
        self.team.watch.stop()

    def _set_up(self, plan: HardwarePlan, loras: list[tuple[Path, float]]) -> None:
        message = SetUp(plan.streamed_blocks, tuple(loras))
        with self.team.together():
            self.team.channel.send(message)

        def set_up() -> None:
            self.components.carry_out(plan)
            prepare(message, plan, self.placement, self.loras, self.blocks, self.folder)

        self.team.agree(attempt(set_up)[1])

    @contextmanager
    def _velocity_model(
        self, sampling: ClipSampling, condition: torch.Tensor, branches: dict[Branch, BranchConditions]
    ) -> Iterator[Predictor]:
        transformer = self.components.transformer
        layout = choose_layout(
            self.team.size,
            transformer.config.num_attention_heads,
            len(branches),
            self.settings.branch_groups,
            even=self.blocks is not None,
        )
        clip = ClipStart(
            layout=layout,
            condition=condition,
            branches=branches,
            computed=sampling.computed,
            batched=self.plan.batch_branches,
            cache=sampling.cache,
            steps=sampling.settings.steps,
            resolution=sampling.resolution,
        )
        with leading_clip(self.team, transformer, clip) as model:
            yield model


class FollowingPipeline(MultiTalkPipeline):
    """A process other than 0: it has the transformer alone, and does what process 0 says.

    Args:
        transformer: The model.
        folder: The weights it came from.
        plan: How it runs here.
        team: The processes.
        placement: What moves the transformer's weights; None where they are shared.
        blocks: What brings the transformer's weights where they are shared.
    """

    def __init__(
        self,
        transformer: MultiTalkTransformer,
        folder: WeightsFolder,
        plan: HardwarePlan,
        team: Team,
        placement: Placement | None,
        blocks: SharedBlocks | None,
    ) -> None:
        self.transformer = transformer
        self.folder = folder
        self.plan = plan
        self.team = team
        self.placement = placement
        self.blocks = blocks
        self.loras = LoraSwitcher(transformer, plan.device)

    def __getattr__(self, name: str) -> NoReturn:
        """Say why it lacks what a whole pipeline has."""
        raise AttributeError(f"This process follows process 0 and has the transformer alone, but no {name}.")

    def generate(self, *args: Any, **kwargs: Any) -> GenerationResult:
        """Take part in process 0's job; this process's own arguments don't count.

        Returns:
            What it returns in process 0.

        Raises:
            MultiTalkError: What it raises there.
        """
        return self.follow_job().result

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Clip]:
        """Take part in process 0's job, which alone yields its clips: nothing is yielded here."""
        self.follow_job()
        yield from ()

    def serve(self) -> None:
        """Take part in job after job, until process 0 closes its pipeline."""
        while (message := self._follow()) is not None:
            assert isinstance(message, JobEnd)

    def follow_job(self) -> JobEnd:
        """Take part in one job of process 0.

        Raises:
            MultiTalkError: The one it ended with there.
        """
        end = self._follow()
        if end is None:
            return JobEnd()
        if end.error is not None:
            raise end.error
        return end

    @torch.inference_mode()
    def _follow(self) -> JobEnd | None:
        """Do what process 0 says until its job ends; None where there will be no more."""
        with self.team.together():
            while True:
                message = self.team.channel.receive()
                if isinstance(message, ClipStart):
                    follow_clip(self.team, self.transformer, message)
                elif isinstance(message, SetUp):
                    set_up = partial(
                        prepare, message, self.plan, self.placement, self.loras, self.blocks, self.folder
                    )
                    _, error = attempt(set_up)
                    self.team.channel.gather(None if error is None else sentence_of(error))
                elif isinstance(message, JobEnd):
                    return message
                else:
                    self.team.watch.stop()
                    return None


def prepare(
    message: SetUp,
    plan: HardwarePlan,
    placement: Placement | None,
    loras: LoraSwitcher,
    blocks: SharedBlocks | None,
    folder: WeightsFolder,
) -> None:
    """Let a process's transformer be what a job needs.

    Raises:
        InvalidInput: A LoRA that the job brings along can't be used.
        WeightsError: One of the weights folder can't, or none can here.
    """
    if placement is not None:
        placement.apply(replace(plan, streamed_blocks=message.streamed_blocks))
    activate_for_job(loras, message.loras, folder.path)
    if blocks is not None and blocks.has_any(loras.written):
        loras.activate([])
        blocks.forget()
        raise WeightsError(
            "A LoRA changes whole matrices, which processes that share weights can't take: "
            "merge it when baking, or don't share weights."
        )
