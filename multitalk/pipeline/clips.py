"""The clips of one job: condition, denoise and decode, one clip after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..conditioning.image import encode_image, make_condition
from ..conditioning.job import JobConditions
from ..conditioning.timeline import ClipSpan
from ..media.mix import between
from ..models.constants import FPS
from ..models.video_vae import decode_parts, encode_weights, latent_frames
from ..request.generation_request import GenerationRequest
from ..runtime.plan import HardwarePlan
from ..sampling.cache import computed_steps
from ..sampling.color import ColorCorrection
from ..sampling.denoise import ClipSampling, denoise
from ..sampling.guidance import Branch, BranchConditions, make_guidance
from ..sampling.schedule import MotionFrames, make_timesteps
from .components import Components
from .decode import OnFrames, decode_clip, needed_latents
from .executor import TransformerExecutor
from .progress import JobMonitor
from .results import Clip
from .work import clip_amounts, step_weights

if TYPE_CHECKING:
    from ..models.transformer import MultiTalkTransformer


@dataclass(frozen=True)
class ClipGenerator:
    """Generates the clips of one job.

    Attributes:
        request: The job.
        job: Its encoded inputs.
        components: The networks.
        executor: Runs the transformer.
        plan: The job's hardware plan.
        monitor: Times the stages and reports progress.
        units: Operations of a unit of each stage; see :class:`.work.JobWork`.
    """

    request: GenerationRequest
    job: JobConditions
    components: Components
    executor: TransformerExecutor
    plan: HardwarePlan
    monitor: JobMonitor
    units: Mapping[str, float]

    def run(self, on_frames: OnFrames | None = None) -> Iterator[Clip]:
        """Yield each clip as soon as it is decoded.

        Args:
            on_frames: Called with each group of new frames ``f H W 3`` uint8 on the CPU as soon as it is
                decoded.
        """
        job, monitor = self.job, self.monitor
        sampling = make_sampling(self.request, job, self.components.transformer, self.plan.device)
        steps = step_weights(sampling.settings.steps, sampling.computed)
        monitor.start_clips(
            clip_amounts(job.spans, self.request.frames_per_clip, steps), len(steps), self.units
        )
        condition_frames = job.image[:, None]  # 3 n H W
        for span in job.spans:
            chunks = encode_weights(self.components.vae, condition_frames, self.request.frames_per_clip)
            with monitor.stage("encode", span.index, chunks):
                with self.components.using("vae"):
                    condition = make_condition(
                        self.components.vae, condition_frames, self.request.frames_per_clip, monitor.next_part
                    )
                branches = self._project(span, condition_frames[:, -1])
            with monitor.stage("denoise", span.index, steps):
                latents = self._denoise(sampling, branches, condition, span, condition_frames.shape[1])
            parts = [1.0] * decode_parts(self.components.vae, needed_latents(latents, span))
            with monitor.stage("decode", span.index, parts), self.components.using("vae"):
                frames, condition_frames = decode_clip(
                    self.components.vae,
                    latents,
                    span,
                    sampling.color,
                    self.request.motion_frames,
                    monitor.next_part,
                    on_frames,
                )
            yield _clip(job, span, frames, latents)
            del frames, latents  # free this clip before the next one, unless the caller keeps it
        monitor.finished()

    def _project(self, span: ClipSpan, last_frame: torch.Tensor) -> dict[Branch, BranchConditions]:
        """Project the conditions of every guidance branch once per clip."""
        job, transformer = self.job, self.components.transformer
        with self.components.using("image_encoder"):
            features = encode_image(self.components.image_encoder, last_frame)
        image = transformer.project_image(features)
        windows = job.timeline.windows(span.start).to(self.plan.device)
        audio = {
            heard: transformer.project_audio(windows if heard else torch.zeros_like(windows[:1]))
            for heard in {branch.audio for branch in job.settings.branches}
        }
        return {
            branch: BranchConditions(
                text_hidden_states=job.text[branch.text],
                image_hidden_states=image,
                audio_hidden_states=audio[branch.audio],
                # null audio has the tokens of one person, so its branch must not tell people apart
                person_masks=job.person_masks if branch.audio else None,
            )
            for branch in job.settings.branches
        }

    def _denoise(
        self,
        sampling: ClipSampling,
        branches: dict[Branch, BranchConditions],
        condition: torch.Tensor,
        span: ClipSpan,
        condition_frames: int,
    ) -> torch.Tensor:
        channels = self.components.transformer.config.out_channels
        noise = torch.randn(
            (channels, *condition.shape[1:]),
            generator=sampling.generator,
            device=self.plan.device,
            dtype=torch.float32,
        )
        motion = None
        if span.index > 0:
            motion_latents = condition[-channels:, : latent_frames(condition_frames)]
            motion = MotionFrames(motion_latents, sampling.generator)
        guidance = make_guidance(
            sampling.settings.text_guidance, sampling.settings.audio_guidance, sampling.apg
        )
        check, step_done = self.monitor.check_cancelled, self.monitor.step_done
        batch_branches = self.plan.batch_branches
        with self.executor.velocity_model(sampling, condition, branches, batch_branches) as model:
            return denoise(model, noise, sampling.timesteps, guidance, motion, check, step_done)


def make_sampling(
    request: GenerationRequest, job: JobConditions, transformer: MultiTalkTransformer, device: torch.device
) -> ClipSampling:
    """Prepare the sampling settings that all clips of a job share.

    Args:
        request: The job.
        job: Its encoded inputs.
        transformer: Its time embedding decides which steps TeaCache skips.
        device: Device of the timesteps and the random numbers.
    """
    settings = job.settings
    timesteps = make_timesteps(settings.sampling.steps, settings.sampling.shift).to(device)
    computed = None
    if request.teacache is not None:
        modulations = transformer.time_embedding(timesteps[:-1])[1]
        computed = computed_steps(modulations, request.teacache, settings.resolution)
    return ClipSampling(
        settings=settings.sampling,
        timesteps=timesteps,
        computed=computed,
        generator=torch.Generator(device).manual_seed(job.seed),
        color=ColorCorrection(job.image, request.color_correction),
        apg=request.apg,
        cache=request.cache,
        resolution=settings.resolution,
    )


def _clip(job: JobConditions, span: ClipSpan, frames: torch.Tensor, latents: torch.Tensor) -> Clip:
    start = span.start + span.skip
    sound = between(job.soundtrack, start / FPS, (start + span.new_frames) / FPS)
    return Clip(span.index, frames, latents, job.seed, start, job.frames, sound)
