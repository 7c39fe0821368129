"""The clips of one job: condition, denoise and decode, one clip after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from ..conditioning.clip import ClipCondition
from ..conditioning.conditioners import CONDITIONERS
from ..conditioning.job import JobConditions
from ..conditioning.timeline import ClipSpan
from ..marks.job import file_tags
from ..media.mix import between
from ..models.constants import FPS
from ..models.video_vae import decode_latents, decode_parts, encode_weights
from ..request.generation_request import GenerationRequest
from ..runtime.plan import HardwarePlan
from ..sampling.cache import computed_steps
from ..sampling.color import ColorCorrection
from ..sampling.denoise import ClipSampling, denoise
from ..sampling.guidance import Branch, BranchConditions, make_guidance
from ..sampling.schedule import add_noise, make_timesteps, sampled_steps
from ..sampling.taylorseer import ExtrapolatingModel, extrapolations
from .components import Components
from .decode import Decode, OnFrames, decode_clip, needed_latents
from .executor import TransformerExecutor
from .previews import ClipPreviews
from .progress import JobMonitor
from .results import Clip
from .work import clip_amounts, step_weights

if TYPE_CHECKING:
    from ..marks.frames import FrameMarks
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
        frame_marks: What the encoder adds to the frames.
    """

    request: GenerationRequest
    job: JobConditions
    components: Components
    executor: TransformerExecutor
    plan: HardwarePlan
    monitor: JobMonitor
    units: Mapping[str, float]
    frame_marks: FrameMarks | None = None

    def run(self, on_frames: OnFrames | None = None) -> Iterator[Clip]:
        """Yield each clip as soon as it is decoded.

        Args:
            on_frames: Called with each group of new frames ``f H W 3`` uint8 on the CPU as soon as it is
                decoded.
        """
        job, monitor = self.job, self.monitor
        sampling = make_sampling(self.request, job, self.components.transformer, self.plan.device)
        steps = step_weights(sampling.settings.steps, sampling.computed)
        if sampling.extrapolations is not None:
            computed = [factors is None for factors in sampling.extrapolations]
            steps = step_weights(sampling.settings.steps, computed)
        frames_per_clip = self.request.frames_per_clip
        conditioner = CONDITIONERS[job.outline.model.name](
            job,
            self.components,
            frames_per_clip,
            sampling.generator,
            monitor.check_cancelled,
            monitor.next_part,
        )
        chunks = [
            [
                weight
                for frames, length in conditioner.encoded(span)
                for weight in encode_weights(self.components.vae, job.image.shape[1:], frames, length)
            ]
            for span in job.spans
        ]
        amounts = clip_amounts(job.spans, list(map(sum, chunks)), steps)
        monitor.start_clips(amounts, len(steps), self.units)
        last_frames = job.previous
        color = None if last_frames is None else self._correction(last_frames[:, -1])
        try:
            for span in job.spans:
                with monitor.stage("encode", span.index, chunks[span.index]):
                    if color is None or span.starts_scene:
                        last_frames, color = None, self._color(span)
                    clip = conditioner.condition(span, last_frames)
                    branches = self._project(span, clip.image_features)
                with monitor.stage("denoise", span.index, steps):
                    latents = self._denoise(sampling, branches, clip, span)
                del clip
                decode, parts = self._decoder(needed_latents(latents, span))
                with monitor.stage("decode", span.index, [1.0] * parts), self.components.using("vae"):
                    frames, last_frames = decode_clip(
                        decode,
                        latents,
                        span,
                        color,
                        job.outline.motion_frames,
                        monitor.next_part,
                        on_frames,
                    )
                yield _clip(job, span, frames, latents, self._tags, self.frame_marks)
                del frames, latents  # free this clip before the next one, unless the caller keeps it
        finally:
            monitor.warnings += job.source.warnings
            job.source.close()
        monitor.finished()

    def _decoder(self, latents: torch.Tensor) -> tuple[Decode, int]:
        """Return what decodes latents ``C T h w``, and in how many parts."""
        if self.request.vae == "fast" and self.components.fast_decoder is not None:
            return self.components.fast_decoder().decode, latents.shape[1]
        vae = self.components.vae
        return partial(decode_latents, vae), decode_parts(vae, latents)

    def _previews(self, span: ClipSpan, steps: int) -> ClipPreviews | None:
        """Return what decodes a clip's previews; None if nobody asked for them."""
        decoder, send = self.components.fast_decoder, self.monitor.on_preview
        if not self.request.preview or decoder is None or send is None:
            return None
        clips = len(self.job.spans)
        return ClipPreviews(decoder(), span, clips, steps, send, self._tags, self.frame_marks)

    @property
    def _tags(self) -> dict[str, str]:
        """Tags of the files of clips and previews."""
        return file_tags(self.request.mark, self.request.is_composite)

    def _color(self, span: ClipSpan) -> ColorCorrection:
        """Return the correction of a scene's colors to those of its first frame."""
        return self._correction(self.job.source.frame(span.start, self.monitor.check_cancelled))

    def _correction(self, reference: torch.Tensor) -> ColorCorrection:
        return ColorCorrection(reference, self.job.color_correction)

    def _project(self, span: ClipSpan, image_features: torch.Tensor) -> dict[Branch, BranchConditions]:
        """Project the conditions of every guidance branch once per clip."""
        job, transformer = self.job, self.components.transformer
        image = transformer.project_image(image_features)
        windows = job.timeline.windows(span.start).to(self.plan.device)
        audio = {
            heard: transformer.project_audio(windows if heard else torch.zeros_like(windows[:1]))
            for heard in {branch.audio for branch in job.settings.branches}
        }
        return {
            branch: BranchConditions(
                text_hidden_states=job.text_of(branch.text, span),
                image_hidden_states=image,
                audio_hidden_states=audio[branch.audio],
                # null audio has the tokens of one person, so its branch must not tell people apart
                person_masks=job.person_masks if branch.audio else None,
                audio_scales=job.audio_scales if branch.audio else None,
            )
            for branch in job.settings.branches
        }

    def _denoise(
        self,
        sampling: ClipSampling,
        branches: dict[Branch, BranchConditions],
        clip: ClipCondition,
        span: ClipSpan,
    ) -> torch.Tensor:
        noise = torch.randn(
            (self.components.transformer.config.out_channels, *clip.condition.shape[1:]),
            generator=sampling.generator,
            device=self.plan.device,
            dtype=torch.float32,
        )
        if clip.start is not None:
            noise = add_noise(clip.start, noise, sampling.timesteps[0])
        guidance = make_guidance(
            sampling.settings.text_guidance, sampling.settings.audio_guidance, sampling.apg
        )
        check, step_done = self.monitor.check_cancelled, self.monitor.step_done
        batch_branches = self.plan.batch_branches
        with self.executor.velocity_model(sampling, clip.condition, branches, batch_branches) as model:
            if sampling.extrapolations is not None:
                model = ExtrapolatingModel(model, sampling.extrapolations)
            previews = self._previews(span, sampling.settings.steps)
            return denoise(
                model, noise, sampling.timesteps, guidance, clip.motion, check, step_done, previews
            )


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
    steps = sampled_steps(settings.sampling.steps, job.outline.strength)
    schedule = make_timesteps(
        settings.sampling.steps, settings.sampling.shift, settings.sampling.timestep_spacing
    )
    timesteps = schedule[-steps - 1 :].to(device)
    computed = None
    if request.teacache is not None:
        modulations = transformer.time_embedding(timesteps[:-1])[1]
        computed = computed_steps(modulations, request.teacache, settings.resolution)
    cache = request.cache
    return ClipSampling(
        settings=replace(settings.sampling, steps=steps),
        timesteps=timesteps,
        computed=computed,
        generator=torch.Generator(device).manual_seed(job.seed),
        apg=request.apg,
        cache=cache,
        resolution=settings.resolution,
        extrapolations=(
            extrapolations(cache, timesteps) if cache is not None and cache.name == "taylorseer" else None
        ),
    )


def _clip(
    job: JobConditions,
    span: ClipSpan,
    frames: torch.Tensor,
    latents: torch.Tensor,
    tags: Mapping[str, str],
    frame_marks: FrameMarks | None,
) -> Clip:
    start = job.frames_before + job.first_new_frame(span)
    sound = between(job.soundtrack, start / FPS, (start + span.new_frames) / FPS)
    return Clip(span.index, frames, latents, job.seed, start, job.frames, sound, tags, frame_marks)
