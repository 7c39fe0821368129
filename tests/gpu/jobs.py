"""A job on the stand-in GPU: networks of full width and a few layers, run by the product's pipeline."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from multitalk.bench import networks
from multitalk.bench.job import BenchOptions, finish_pipeline, make_pipeline, make_request, sizes_of
from multitalk.conditioning.job import JobConditions, _encode_prompts
from multitalk.conditioning.outline import JobOutline
from multitalk.conditioning.resolve import resolve_settings
from multitalk.conditioning.source import PictureSource
from multitalk.conditioning.timeline import AudioTimeline, ClipSpan
from multitalk.media.sound import Sound
from multitalk.models.constants import FPS, SLOTS
from multitalk.pipeline import clips
from multitalk.pipeline.clips import ClipGenerator
from multitalk.pipeline.components import Components
from multitalk.pipeline.pipeline import MultiTalkPipeline
from multitalk.pipeline.progress import JobMonitor
from multitalk.pipeline.results import Clip
from multitalk.request.model_kinds import MODELS
from multitalk.request.presets import PRESETS
from multitalk.runtime.choose import EIGHT_BIT, Weights, _layout, plan_for
from multitalk.runtime.gpus import GpuSpecification
from multitalk.runtime.machine import Machine
from multitalk.runtime.memory import RESERVE, RESERVE_SHARE, Workload
from multitalk.runtime.plan import HardwarePlan
from multitalk.runtime.report import usual_machine
from multitalk.runtime.settings import PlanSettings
from multitalk.runtime.sizes import PUBLISHED, ModelSizes

from .stand_in import DEVICE, StandInGpu

# Blocks of the transformer that are streamed, in plans that stream: they take turns in the slots
STREAMED = SLOTS + 1
COMPUTED = [True, False]  # the steps that TeaCache computes
# Both clips have the tokens of 81 frames, but few new frames: decoding repeats itself.
MOTION_FRAMES = 1
SPANS = [ClipSpan(0, 0, 0, 9), ClipSpan(1, 8, MOTION_FRAMES, 4)]
FRAMES = 89


@dataclass(frozen=True)
class GpuJob:
    """Jobs of 480p on a GPU.

    Attributes:
        machine: Where they run.
        precision: Of the weights.
        layers: Blocks of the transformer.
    """

    machine: Machine
    precision: str
    layers: int

    @classmethod
    def on(cls, sheet: GpuSpecification, precision: str, kernels: bool = True) -> GpuJob:
        """Return jobs with as many blocks as their plan needs; `kernels` tells whether there is Triton."""
        machine = replace(usual_machine(sheet), device=str(DEVICE), kernels=kernels)
        job = cls(machine, precision, 2)
        return replace(job, layers=STREAMED + 1) if job.whole_plan.streamed_blocks else job

    @property
    def options(self) -> BenchOptions:
        """The networks."""
        return BenchOptions(layers=self.layers, precision=self.precision)

    @property
    def workload(self) -> Workload:
        """The larger job as the planner sees it, with a short sound: encoding it is not simulated."""
        return Workload(calls=2 * len(COMPUTED), keeps_residuals=True, sound_seconds=4)

    @property
    def whole_plan(self) -> HardwarePlan:
        """The plan of the table, for the published model."""
        weights = Weights(PUBLISHED, self.precision, self.precision)
        return plan_for(self.machine, replace(Workload(), keeps_residuals=True), weights)

    @property
    def plan(self) -> HardwarePlan:
        """The plan for the layers of this job, with the choices of the plan for the published model."""
        whole = self.whole_plan
        settings = PlanSettings(
            resident=whole.resident,
            streamed_blocks=STREAMED if whole.streamed_blocks else 0,
            vae_tiling=whole.vae_tiling,
            eight_bit_products=whole.eight_bit_products,
        )
        weights = Weights(sizes_of(self.options.shape), self.precision, self.precision)
        return plan_for(self.machine, self.workload, weights, settings)

    def claims(self, sizes: ModelSizes) -> dict[str, int]:
        """Return the device bytes that the plan claims for each stage, with networks of these sizes."""
        plan = self.plan
        settings = PlanSettings(
            resident=plan.resident, streamed_blocks=plan.streamed_blocks, vae_tiling=plan.vae_tiling
        )
        weights = Weights(sizes, self.precision, self.precision)
        layout = _layout(weights, plan.dtype, self.workload, settings)
        assert layout.peak(self.workload) <= plan.expected_peak_bytes, "which assumes the published encoders"
        products = plan.eight_bit_products and self.precision in EIGHT_BIT
        return replace(layout, eight_bit_products=products).stages(self.workload)


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


def run_jobs(gpu: StandInGpu, job: GpuJob, folder: Path, patch: pytest.MonkeyPatch) -> dict[str, int]:
    """Create the networks; generate clips of two people (MultiTalk), then one of one person (InfiniteTalk).

    The stages are regions of the GPU.

    Returns:
        The device bytes that the plan claims for each stage.
    """
    patch.setattr(networks, "_fill", lambda *_: None)
    patch.setattr(networks, "AutoencoderKLWan", partial(AutoencoderKLWan, num_res_blocks=1))
    patch.setattr(clips, "computed_steps", lambda *_: COMPUTED)
    with gpu.running():
        with gpu.region("load"):
            pipeline = make_pipeline(job.options, job.plan, folder)
            finish_pipeline(pipeline)
        claims = job.claims(counted_sizes(job, pipeline.components))
        # the plan's reserve, without half a gigabyte for the CUDA context
        gpu.allocator.limit = max(claims.values()) + int(RESERVE_SHARE * gpu.gpu.memory) + RESERVE // 2
        with torch.inference_mode():
            for clip in generate(gpu, job, pipeline, people=2, spans=SPANS):
                assert clip.frames.shape[1:] == (480, 832, 3)
            del clip
            next(generate(gpu, job, pipeline, people=1, spans=SPANS[:1]))
        assert gpu.locked or not job.plan.streamed_blocks
        del pipeline
        gc.collect()
        assert gpu.locked == {}, "a pipeline that is gone holds no page-locked memory"
    return claims


def generate(
    gpu: StandInGpu, job: GpuJob, pipeline: MultiTalkPipeline, people: int, spans: list[ClipSpan]
) -> Iterator[Clip]:
    """Yield the clips of a job whose sound is encoded already."""
    options = replace(job.options, people=people, steps=len(COMPUTED), teacache=0.3)
    request = make_request(options, motion_frames=MOTION_FRAMES)
    settings = resolve_settings(request, PRESETS[options.preset])
    monitor = StageMonitor(gpu)
    text = _encode_prompts(request, settings.branches, pipeline.components, monitor)
    shape = options.shape
    features = torch.zeros(people, FRAMES, shape.audio_layers, shape.audio_dim)
    masks = torch.zeros(3, job.workload.tokens_per_frame, device=DEVICE) if people > 1 else None
    # both ways of conditioning a clip, and both ways of correcting colors
    model = MODELS["multitalk" if people > 1 else "infinitetalk"]
    sound = Sound(np.zeros((FRAMES * 640, 1), np.float32), 16000)
    image = torch.zeros(3, settings.height, settings.width, device=DEVICE)
    conditions = JobConditions(
        outline=JobOutline(
            preset=PRESETS[options.preset],
            settings=settings,
            model=model,
            motion_frames=MOTION_FRAMES,
            strength=None,
            person_masks=masks,
            voices=[sound] * people,
            turns="together",
            sound=sound,
            speech=None,
        ),
        spans=spans,
        color_correction=float(people == 1),
        seed=1,
        image=image,
        source=PictureSource(image),
        person_masks=masks,
        prompts=request.prompts,
        negative_prompt=request.negative_prompt,
        text=text,
        timeline=AudioTimeline(features, request.frames_per_clip, 5),
        soundtrack=sound,
        speech=None,
        audio_scales=torch.tensor([0.5, 2.0, 1.0], device=DEVICE) if people > 1 else None,
    )
    units = pipeline.work_of(request, FRAMES / FPS).units
    components, executor = pipeline.components, pipeline.executor
    generator = ClipGenerator(request, conditions, components, executor, pipeline.plan, monitor, units)
    # reads the frames, as the encoder of the video does
    return generator.run(lambda frames: frames.sum())
