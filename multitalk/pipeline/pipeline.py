"""MultiTalkPipeline: a picture and voices in, a talking video out, clip by clip."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..conditioning.condition import make_condition
from ..conditioning.describe import describe_job
from ..conditioning.image import encode_image
from ..conditioning.job import JobConditions, prepare_job
from ..conditioning.timeline import ClipSpan
from ..errors import Cancelled
from ..media.background import BackgroundWriter
from ..media.mix import between
from ..media.video import VideoWriter
from ..models.constants import FPS
from ..models.video_vae import latent_frames
from ..parallel.launch import connected_processes
from ..parallel.layout import ParallelSettings
from ..request.generation_request import GenerationRequest, Speech
from ..request.presets import PRESETS, Preset
from ..runtime.plan import HardwarePlan
from ..runtime.planner import Planner, weights_of, with_arguments
from ..runtime.settings import PlanSettings
from ..runtime.weights_folder import find_weights
from ..sampling.branches import BranchConditions, plan_calls
from ..sampling.cache import use_cache
from ..sampling.clip_sampling import ClipSampling
from ..sampling.color import ColorCorrection
from ..sampling.denoise import Predictor, VelocityModel, denoise
from ..sampling.guidance import Branch, make_guidance
from ..sampling.motion import MotionFrames
from ..sampling.schedule import make_timesteps
from ..sampling.teacache import computed_steps
from ..speech.kokoro import KokoroEngine
from ..speech.speak import choose_engine
from ..weights.folders import all_part_files
from ..weights.lora_switch import LoraSwitcher, activate_for_job
from ..weights.read_ahead import ReadAhead
from ..weights.store import WeightsFolder
from .components import Components, load_components
from .decode import OnFrames, decode_clip
from .loras import job_loras
from .planning import JobPlanner, loading_workload
from .progress import CancelSignal, JobMonitor, OnProgress
from .results import Clip, GenerationResult

if TYPE_CHECKING:
    from ..start.cold_start import ColdStart


class MultiTalkPipeline:
    """Runs jobs, one after another, on models that stay loaded.

    Args:
        components: The networks.
        folder: The weights they came from.
        plan: How they run on this machine; the running job's, while there is one.
        planner: Plans each job anew, as its size and length need it; None runs them all by `plan`.
    """

    fps = FPS

    def __init__(
        self,
        components: Components,
        folder: WeightsFolder,
        plan: HardwarePlan,
        planner: Planner | None = None,
    ) -> None:
        self.components = components
        self.folder = folder
        self.plan = plan
        self._jobs = JobPlanner(planner, plan)
        self.loras = LoraSwitcher(components.transformer, plan.device)
        self.speech_engine = choose_engine(folder.path, plan.speech_device)  # loads when it first speaks

    @classmethod
    def from_pretrained(
        cls,
        weights_dir: str | Path | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        plan: HardwarePlan | PlanSettings | None = None,
        parallel: ParallelSettings | None = None,
        start: ColdStart | None = None,
    ) -> MultiTalkPipeline:
        """Load a pipeline from a baked weights folder.

        In one of several connected processes (``torch.distributed``) it is one pipeline in all of them: all
        must call the same methods, and process 0 gives the results (docs/PARALLEL.md).

        Args:
            weights_dir: The folder; None searches (:func:`multitalk.runtime.weights_folder.find_weights`).
            device: None lets the hardware plan decide.
            dtype: None lets the hardware plan decide.
            plan: A plan to run every job by, as it is; or settings that override single choices, in place of
                the environment's (docs/HARDWARE.md).
            parallel: How several processes share a video; None chooses.
            start: What has begun to read the folder, and keeps time.

        Raises:
            WeightsError: No folder is found, or a file of it is missing or damaged.
            InvalidInput: The device doesn't exist here, a setting can't be used, or a 480p clip doesn't fit.
        """
        if connected_processes() > 1:
            from ..parallel.loading import load_in_team

            return load_in_team(weights_dir, device, dtype, plan, parallel)
        path = find_weights(weights_dir)
        if start is not None and start.folder == path:
            folder = WeightsFolder(path, start.read_ahead, start.step)
        else:
            folder = WeightsFolder(path, ReadAhead(all_part_files(path)))
        if isinstance(plan, HardwarePlan):
            return cls(load_components(folder, plan), folder, plan)
        planner = Planner(with_arguments(plan, device, dtype), weights_of(folder))
        loaded = planner.plan(loading_workload())
        return cls(load_components(folder, loaded), folder, loaded, planner)

    def generate(
        self,
        request: GenerationRequest,
        path: str | Path,
        on_progress: OnProgress | None = None,
        cancel: CancelSignal | None = None,
        on_clip: Callable[[Clip], None] | None = None,
        keep_partial: bool = False,
        words_in_file: bool = False,
        monitor: JobMonitor | None = None,
        said: Mapping[str, Speech] | None = None,
    ) -> GenerationResult:
        """Make a video file.

        Args:
            request: The job.
            path: The mp4 to write; nothing is left there when the job fails or is cancelled.
            on_progress: Called with a :class:`multitalk.pipeline.progress.Progress` at every change.
            cancel: Asked before every model call.
            on_clip: Called with each clip as soon as it is decoded, while the file is written behind it.
            keep_partial: When the job is cancelled after its first clip, finish the file with what is done.
            words_in_file: Write prompts and words into the file's metadata, too, beside the other settings.
            monitor: Times the stages instead of one that is made from `on_progress` and `cancel`.
            said: With `words_in_file`: what was spoken to make the request's sounds, by person, for the file.

        Raises:
            InvalidInput: The request doesn't fit these weights, or the file can't be written.
            Cancelled: `cancel` was set.
        """
        monitor = JobMonitor(on_progress, cancel) if monitor is None else monitor
        started = time.monotonic()
        with torch.inference_mode():
            job = self._prepare(request, monitor)
            metadata = describe_job(
                request, self.preset_of(request), job.settings.sampling, job.seed, words_in_file, said
            )
            writer = VideoWriter(
                path,
                job.settings.width,
                job.settings.height,
                fps=FPS,
                sound=job.soundtrack,
                metadata=metadata,
            )
            complete = self._write(writer, request, job, monitor, on_clip, keep_partial)
        monitor.timings["total"] = time.monotonic() - started
        return GenerationResult(
            path=Path(path),
            frames=writer.frames,
            seconds=writer.frames / FPS,
            seed=job.seed,
            timings=dict(monitor.timings),
            width=job.settings.width,
            height=job.settings.height,
            speech=job.speech if job.speech is None else job.speech.until(writer.frames / FPS),
            complete=complete,
        )

    def _write(
        self,
        writer: VideoWriter,
        request: GenerationRequest,
        job: JobConditions,
        monitor: JobMonitor,
        on_clip: Callable[[Clip], None] | None,
        keep_partial: bool,
    ) -> bool:
        """Make a job's clips while those before are written; returns whether the video is complete."""
        with writer, BackgroundWriter(writer) as encoder:
            try:
                for clip in self._clips(request, job, monitor, encoder.write):
                    with monitor.stage("video", clip.index):
                        if on_clip is not None:
                            on_clip(clip)
                    del clip  # its frames aren't kept while the next one is made
                with monitor.timed("video"):
                    encoder.finish()
            except Cancelled:
                if not keep_partial:
                    raise  # at once: what waits for the encoder is given up
                encoder.finish()
                if not writer.frames:
                    raise
                writer.end_here()
                return False
        return True

    def stream(
        self,
        request: GenerationRequest,
        on_progress: OnProgress | None = None,
        cancel: CancelSignal | None = None,
    ) -> Iterator[Clip]:
        """Yield each clip of a job as soon as it is decoded; see :meth:`generate` for the arguments."""
        monitor = JobMonitor(on_progress, cancel)
        clips = self._stream(request, monitor)
        while True:
            # the mode is this thread's: it must not leak into the caller's code between two clips
            with torch.inference_mode():
                clip = next(clips, None)
            if clip is None:
                return
            yield clip
            del clip  # not kept while the next one is made

    def _stream(self, request: GenerationRequest, monitor: JobMonitor) -> Iterator[Clip]:
        yield from self._clips(request, self._prepare(request, monitor), monitor)

    def preset_of(self, request: GenerationRequest) -> Preset:
        """The preset a request runs with: its own, or what the weights are best at."""
        return PRESETS[request.preset or self.folder.manifest.default_preset]

    def _prepare(self, request: GenerationRequest, monitor: JobMonitor) -> JobConditions:
        preset = self.preset_of(request)
        self.plan = self._jobs.plan(request, preset)
        if isinstance(self.speech_engine, KokoroEngine):  # the others have no network
            self.speech_engine.move(self.plan.speech_device)
        self._set_up(self.plan, job_loras(self.folder, preset, request.lora))
        return prepare_job(request, self.components, preset, monitor, self.speech_engine)

    def _set_up(self, plan: HardwarePlan, loras: list[tuple[Path, float]]) -> None:
        """Let the weights lie and be what a job needs.

        Raises:
            InvalidInput: A LoRA that the job brings along can't be used.
            WeightsError: One of the weights folder can't.
        """
        self.components.carry_out(plan)
        activate_for_job(self.loras, loras, self.folder.path)

    def _clips(
        self,
        request: GenerationRequest,
        job: JobConditions,
        monitor: JobMonitor,
        on_frames: OnFrames | None = None,
    ) -> Iterator[Clip]:
        """Condition, denoise and decode one clip after the other."""
        sampling = self._make_sampling(request, job)
        monitor.start_clips(len(job.clips), sampling.settings.steps, len(job.settings.branches))
        condition_frames = job.image[:, None]  # 3 n H W
        for plan in job.clips:
            with monitor.stage("encode", plan.index):
                with self.components.using("vae"):
                    condition = make_condition(
                        self.components.vae,
                        condition_frames,
                        request.frames_per_clip,
                        monitor.check_cancelled,
                    )
                branches = self._project(job, plan, condition_frames[:, -1])
            with monitor.stage("denoise", plan.index):
                latents = self._denoise(
                    sampling, branches, condition, plan, condition_frames.shape[1], monitor
                )
            with monitor.stage("decode", plan.index), self.components.using("vae"):
                frames, condition_frames = decode_clip(
                    self.components.vae,
                    latents,
                    plan,
                    sampling.color,
                    request.motion_frames,
                    monitor.check_cancelled,
                    on_frames,
                )
            yield _clip(job, plan, frames, latents)
            del frames, latents  # not kept while the next clip is made, unless whoever got it keeps them
        monitor.finished()

    def _make_sampling(self, request: GenerationRequest, job: JobConditions) -> ClipSampling:
        device, settings = self.plan.device, job.settings
        timesteps = make_timesteps(settings.sampling.steps, settings.sampling.shift).to(device)
        computed = None
        if request.teacache is not None:
            modulations = self.components.transformer.time_embedding(timesteps[:-1])[1]
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

    def _project(
        self, job: JobConditions, plan: ClipSpan, last_frame: torch.Tensor
    ) -> dict[Branch, BranchConditions]:
        """The conditions of every guidance branch of a clip, projected once."""
        transformer = self.components.transformer
        with self.components.using("image_encoder"):
            features = encode_image(self.components.image_encoder, last_frame)
        image = transformer.project_image(features)
        windows = job.timeline.windows(plan.start).to(self.plan.device)
        audio = {
            heard: transformer.project_audio(windows if heard else torch.zeros_like(windows[:1]))
            for heard in {branch.audio for branch in job.settings.branches}
        }
        branches = {}
        for branch in job.settings.branches:
            branches[branch] = BranchConditions(
                text_hidden_states=job.text[branch.text],
                image_hidden_states=image,
                audio_hidden_states=audio[branch.audio],
                # null audio is one person's, so that branch needs to know nobody apart
                person_masks=job.person_masks if branch.audio else None,
            )
        return branches

    def _denoise(
        self,
        sampling: ClipSampling,
        branches: dict[Branch, BranchConditions],
        condition: torch.Tensor,
        plan: ClipSpan,
        known_frames: int,
        monitor: JobMonitor,
    ) -> torch.Tensor:
        channels = self.components.transformer.config.out_channels
        device = self.plan.device
        noise = torch.randn(
            (channels, *condition.shape[1:]), generator=sampling.generator, device=device, dtype=torch.float32
        )
        motion = None
        if plan.index > 0:
            motion_latents = condition[-channels:, : latent_frames(known_frames)]
            motion = MotionFrames(motion_latents, sampling.generator)
        guidance = make_guidance(
            sampling.settings.text_guidance, sampling.settings.audio_guidance, sampling.apg
        )
        with self._velocity_model(sampling, condition, branches) as model:
            return denoise(
                model, noise, sampling.timesteps, guidance, motion, monitor.check_cancelled, monitor.step_done
            )

    @contextmanager
    def _velocity_model(
        self, sampling: ClipSampling, condition: torch.Tensor, branches: dict[Branch, BranchConditions]
    ) -> Iterator[Predictor]:
        """What predicts the velocity of one clip."""
        transformer = self.components.transformer
        calls = plan_calls(branches, self.plan.batch_branches)
        with use_cache(transformer, sampling.cache, sampling.settings.steps, sampling.resolution):
            yield VelocityModel(transformer, condition, calls, sampling.computed)


def _clip(job: JobConditions, plan: ClipSpan, frames: torch.Tensor, latents: torch.Tensor) -> Clip:
    start = plan.start + plan.skip
    sound = between(job.soundtrack, start / FPS, (start + plan.new_frames) / FPS)
    return Clip(plan.index, frames, latents, job.seed, start, job.frames, sound)
