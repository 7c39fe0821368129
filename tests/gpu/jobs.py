"""A job on the stand-in GPU: networks of full width and a few layers, run by the product's pipeline."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from multitalk.bench import networks
from multitalk.bench.job import BenchOptions, finish_pipeline, make_pipeline, make_request, sizes_of
from multitalk.conditioning.job import JobConditions, _encode_prompts
from multitalk.conditioning.resolve import resolve_settings
from multitalk.conditioning.timeline import AudioTimeline, ClipSpan
from multitalk.media.sound import Sound
from multitalk.models.constants import FPS, SLOTS
from multitalk.pipeline import clips
from multitalk.pipeline.clips import ClipGenerator
from multitalk.pipeline.components import Components
from multitalk.pipeline.pipeline import MultiTalkPipeline
from multitalk.pipeline.planning import workload_of
from multitalk.pipeline.progress import JobMonitor
from multitalk.request.presets import PRESETS
from multitalk.runtime.choose import Weights, plan_for
from multitalk.runtime.machine import Machine
from multitalk.runtime.memory import Workload
from multitalk.runtime.plan import HardwarePlan
from multitalk.runtime.settings import PlanSettings
from multitalk.runtime.sizes import PUBLISHED, ModelSizes

from .stand_in import DEVICE, StandInGpu

# Blocks of the transformer that are streamed, in plans that stream: they take turns in the slots
STREAMED = SLOTS + 1
COMPUTED = [True, False]  # the steps that TeaCache computes
# Both clips have the tokens of 81 frames, but few new frames: decoding repeats itself.
MOTION_FRAMES = 5
SPANS = [ClipSpan(0, 0, 0, 9), ClipSpan(1, 4, MOTION_FRAMES, 4)]
FRAMES = 85


@dataclass(frozen=True)
class GpuJob:
    """A job of two clips of 480p.

    Attributes:
        precision: Of the weights.
        people: Number of people who speak.
        layers: Blocks of the transformer.
    """

    precision: str
    people: int
    layers: int = 2

    @property
    def options(self) -> BenchOptions:
        """The networks and the request."""
        return BenchOptions(
            layers=self.layers,
            people=self.people,
            steps=len(COMPUTED),
            teacache=0.3,
            precision=self.precision,
        )

    @property
    def workload(self) -> Workload:
        """The job as the planner sees it."""
        options = self.options
        return workload_of(make_request(options), PRESETS[options.preset], 600)

    def plan(self, machine: Machine, sizes: ModelSizes | None = None) -> HardwarePlan:
        """Plan for the published model, and then for the layers of this job with the same choices.

        Args:
            machine: Where it runs.
            sizes: Of the networks; None assumes encoders as large as the published ones.
        """
        whole = plan_for(machine, self.workload, Weights(PUBLISHED, self.precision, self.precision))
        settings = PlanSettings(
            resident=whole.resident,
            streamed_blocks=STREAMED if whole.streamed_blocks else 0,
            vae_tiling=whole.vae_tiling,
            eight_bit_products=whole.eight_bit_products,
        )
        weights = Weights(sizes or sizes_of(self.options.shape), self.precision, self.precision)
        return plan_for(machine, self.workload, weights, settings)


def counted_sizes(job: GpuJob, components: Components) -> ModelSizes:
    """Return the sizes of the networks that were created, with smaller encoders than the published ones."""
    image, audio = (
        sum(parameter.numel() for parameter in part.parameters())
        for part in (components.image_encoder, components.audio_encoder)
    )
    vocabulary = components.text_encoder.shared.weight.numel()
    return replace(
        sizes_of(job.options.shape),
        text_embedding=vocabulary,
        image_parameters=image,
        audio_parameters=audio,
    )


class StageMonitor(JobMonitor):
    """Records every stage as a region of its own."""

    def __init__(self, gpu: StandInGpu) -> None:
        super().__init__(None, None)
        self.gpu = gpu

    def timed(self, name: str) -> AbstractContextManager:  # type: ignore[override]
        """See :meth:`JobMonitor.timed`."""
        return self.gpu.region(name)


def job_for(machine: Machine, precision: str, people: int) -> GpuJob:
    """Return a job with as many blocks as its plan needs."""
    job = GpuJob(precision, people)
    whole = plan_for(machine, job.workload, Weights(PUBLISHED, precision, precision))
    return replace(job, layers=STREAMED + 1) if whole.streamed_blocks else job


def run_job(gpu: StandInGpu, job: GpuJob, machine: Machine, folder: Path, patch: pytest.MonkeyPatch) -> int:
    """Create the networks and generate the clips; the stages are regions of the GPU.

    Returns:
        The device bytes that the plan claims.
    """
    plan = job.plan(machine)
    patch.setattr(networks, "_fill", lambda *_: None)
    patch.setattr(clips, "computed_steps", lambda *_: COMPUTED)
    with gpu.running():
        with gpu.region("load"):
            pipeline = make_pipeline(job.options, plan, folder)
            finish_pipeline(pipeline)
        with torch.inference_mode():
            for clip in generate(gpu, job, pipeline):
                assert clip.frames.shape[1:] == (480, 832, 3)
            return job.plan(machine, counted_sizes(job, pipeline.components)).expected_peak_bytes


def generate(gpu: StandInGpu, job: GpuJob, pipeline: MultiTalkPipeline):
    """Yield the clips of a job whose sound is encoded already."""
    request, plan = make_request(job.options, motion_frames=MOTION_FRAMES), pipeline.plan
    settings = resolve_settings(request, PRESETS[job.options.preset])
    monitor = StageMonitor(gpu)
    text = _encode_prompts(request, settings.branches, pipeline.components, monitor)
    shape = job.options.shape
    features = torch.zeros(job.people, FRAMES, shape.audio_layers, shape.audio_dim)
    masks = torch.zeros(3, job.workload.tokens_per_frame, device=DEVICE) if job.people > 1 else None
    conditions = JobConditions(
        settings=settings,
        spans=SPANS,
        seed=1,
        image=torch.zeros(3, settings.height, settings.width, device=DEVICE),
        person_masks=masks,
        text=text,
        timeline=AudioTimeline(features, request.frames_per_clip, 5),
        soundtrack=Sound(np.zeros((FRAMES * 640, 1), np.float32), 16000),
        speech=None,
    )
    units = pipeline.work_of(request, FRAMES / FPS).units
    generator = ClipGenerator(
        request, conditions, pipeline.components, pipeline.executor, plan, monitor, units
    )
    # reads the frames, as the encoder of the video does
    return generator.run(lambda frames: frames.sum())
