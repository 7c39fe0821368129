"""MultiTalkPipeline: an image and voices in, a talking video out, clip by clip."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed
from PIL import Image

from ..conditioning.continued import all_frames
from ..conditioning.job import JobConditions, outline_job, prepare_job
from ..conditioning.length import expected_seconds, limit_seconds, padded_seconds
from ..conditioning.metadata import make_metadata
from ..conditioning.notices import notices
from ..conditioning.scenes import plan_clips
from ..conditioning.timeline import ClipSpan, count_frames
from ..conditioning.voice_separator import VoiceSeparator
from ..errors import Cancelled, InvalidInput
from ..marks.job import JobMarks
from ..models.constants import FPS
from ..request.generation_request import GenerationRequest, Speech
from ..request.model_kinds import choose_model
from ..request.presets import PRESETS, Preset
from ..runtime.environment import find_weights
from ..runtime.memory import Workload
from ..runtime.plan import HardwarePlan
from ..runtime.planner import Planner, weights_of, with_arguments
from ..runtime.settings import PlanSettings
from ..runtime.sizes import ModelSizes
from ..speech.kokoro import KokoroEngine
from ..speech.speak import choose_engine
from ..weights.folders import all_part_files
from ..weights.read_ahead import ReadAhead
from ..weights.store import WeightsFolder
from .clips import ClipGenerator
from .components import Components, load_components
from .decode import OnFrames
from .executor import LocalExecutor, TransformerExecutor
from .planning import JobPlanner, default_preset, job_loras, loading_workload, workload_of
from .previews import check_fast_decoder
from .progress import CancelSignal, JobMonitor, OnProgress
from .results import Clip, GenerationResult, OnPreview
from .work import JobWork, count_work

if TYPE_CHECKING:
    from ..marks.frames import FrameMarks
    from ..media.video import VideoWriter
    from ..weights.store import Record


class MultiTalkPipeline:
    """Runs jobs, one after another, on models that stay loaded.

    Args:
        components: The networks.
        folder: The weights folder that they were loaded from.
        plan: The hardware plan that they were loaded with.
        planner: Plans each job for its size and length; None runs every job with `plan`.
        executor: Runs the transformer; None runs it in this process.
        sizes: The networks' sizes; None takes those of the planner, or reads them from the folder.

    Attributes:
        plan: The plan of the current or most recent job.
        default_preset: Name of the preset of requests that set none.
        sizes: The networks' sizes.
    """

    fps = FPS

    def __init__(
        self,
        components: Components,
        folder: WeightsFolder,
        plan: HardwarePlan,
        planner: Planner | None = None,
        executor: TransformerExecutor | None = None,
        sizes: ModelSizes | None = None,
    ) -> None:
        self.components = components
        self.folder = folder
        self.plan = plan
        self.default_preset = default_preset(folder, plan)
        self.executor = executor or LocalExecutor(components, folder.path, plan.device)
        self.speech_engine = choose_engine(folder.path, plan.speech_device)  # loads at its first use
        self.voice_separator = VoiceSeparator(folder.path)  # so does this
        self._planner = JobPlanner(planner, plan)
        if sizes is None and planner is not None and planner.weights is not None:
            sizes = planner.weights.sizes
        self.sizes = sizes or ModelSizes.of(folder)

    @classmethod
    def from_pretrained(
        cls,
        weights_dir: str | Path | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        plan: HardwarePlan | PlanSettings | None = None,
        read_ahead: ReadAhead | None = None,
        record: Record | None = None,
    ) -> MultiTalkPipeline:
        """Load a pipeline from a baked weights folder.

        In several processes (torchrun), use :func:`multitalk.parallel.load_pipeline` instead.

        Args:
            weights_dir: The folder; None searches (:func:`multitalk.runtime.environment.find_weights`).
            device: None lets the hardware plan decide.
            dtype: None lets the hardware plan decide.
            plan: A fixed plan for every job, or settings that override single choices of the planner instead
                of the environment variables (docs/HARDWARE.md).
            read_ahead: Threads that already read the folder's files; None starts them.
            record: Times the loading of each part; see :class:`multitalk.weights.store.WeightsFolder`.

        Raises:
            WeightsError: The folder is missing, or one of its files is missing or damaged.
            InvalidInput: The device does not exist, a setting is invalid, a 480p clip does not fit into
                memory, or this process is one of several.
        """
        if connected_processes() > 1:
            raise InvalidInput(
                f"This process is one of {connected_processes()} that torch.distributed connects. "
                "Load the pipeline with multitalk.parallel.load_pipeline."
            )
        path = find_weights(weights_dir)
        folder = WeightsFolder(path, read_ahead or ReadAhead(all_part_files(path)), record)
        if isinstance(plan, HardwarePlan):
            return cls(load_components(folder, plan), folder, plan)
        planner = Planner(with_arguments(plan, device, dtype), weights_of(folder))
        loading_plan = planner.plan(loading_workload())
        return cls(load_components(folder, loading_plan), folder, loading_plan, planner)

    def generate(
        self,
        request: GenerationRequest,
        path: str | Path,
        on_progress: OnProgress | None = None,
        cancel: CancelSignal | None = None,
        on_clip: Callable[[Clip], None] | None = None,
        on_preview: OnPreview | None = None,
        keep_partial: bool = False,
        include_text: bool = False,
        monitor: JobMonitor | None = None,
        scripts: Mapping[str, Speech] | None = None,
        job_id: str | None = None,
    ) -> GenerationResult:
        """Generate a video file.

        Args:
            request: The job.
            path: The mp4 file to write; nothing is left there if the job fails or is cancelled.
            on_progress: Called with a :class:`multitalk.pipeline.progress.Progress` at every change.
            cancel: Checked before every model call.
            on_clip: Called with each clip as soon as it is decoded, while the file is written in the
                background.
            on_preview: Called with previews of clips while they are sampled, if the request asks for them.
            keep_partial: If the job is cancelled after its first clip, finish the file with the clips so far.
            include_text: Also save the prompts and the spoken text in the file's metadata.
            monitor: Replaces the monitor that is made from `on_progress`, `cancel` and `on_preview`.
            scripts: With `include_text`: for each person whose audio was made from text, that text.
            job_id: Name of the job, from which the number in the watermark follows
                (:func:`multitalk.marks.watermark.number_of`); None: a digest of its audio, seed and size, so
                that the same job gives the same file.

        Raises:
            InvalidInput: The request does not fit these weights, or the file cannot be written.
            Cancelled: `cancel` was set.
        """
        from ..media.video import VideoWriter  # only files need FFmpeg

        monitor = monitor or JobMonitor(on_progress, cancel, on_preview=on_preview)
        marks = JobMarks(
            request.mark, request.shown_video is not None
        )  # first: the certificate may be unusable
        started = time.monotonic()
        with self.executor.job() as outcome, torch.inference_mode():
            job = self._prepare(request, monitor)
            settings = job.settings
            metadata = partial(
                make_metadata,
                request,
                job.outline.preset,
                job.outline.model,
                settings.sampling,
                job.seed,
                len(job.spans),
            )
            frame_marks = _frame_marks(request, job, job_id)
            writer = VideoWriter(
                path,
                settings.width,
                settings.height,
                fps=FPS,
                sound=job.soundtrack,
                metadata=metadata(include_text, scripts) | marks.tags,
                complete=partial(_sign, marks, request, job, metadata()["comment"], monitor),
                frame_marks=frame_marks,
            )
            complete = self._write(writer, request, job, monitor, frame_marks, on_clip, keep_partial)
            seconds = writer.frames / FPS
            monitor.timings["total"] = time.monotonic() - started
            result = outcome.result = GenerationResult(
                path=Path(path),
                frames=writer.frames,
                seconds=seconds,
                seed=job.seed,
                timings=dict(monitor.timings),
                width=settings.width,
                height=settings.height,
                model=job.outline.audio_layers,
                speech=None if job.speech is None else job.speech.until(seconds),
                warnings=tuple(dict.fromkeys([*request.warnings, *monitor.warnings, *marks.warnings])),
                complete=complete,
                marks=marks.names(frame_marks.number),
                signed_by=marks.signed_by,
                watermark=frame_marks.number,
                last_frame=Image.fromarray(writer.last_frame),
            )
        return result

    def stream(
        self,
        request: GenerationRequest,
        on_progress: OnProgress | None = None,
        cancel: CancelSignal | None = None,
        on_preview: OnPreview | None = None,
        monitor: JobMonitor | None = None,
        job_id: str | None = None,
    ) -> Iterator[Clip]:
        """Yield each clip of a job as soon as it is decoded; see :meth:`generate` for the arguments.

        The clips do not contain the video that a job continues, even if it is joined.
        """
        monitor = monitor or JobMonitor(on_progress, cancel, on_preview=on_preview)
        with self.executor.job():
            # inference mode belongs to the thread: it must not reach the caller's code between clips
            with torch.inference_mode():
                job = self._prepare(request, monitor)
                clips = self._clips(request, job, monitor, _frame_marks(request, job, job_id))
                del job
            while True:
                with torch.inference_mode():
                    clip = next(clips, None)
                if clip is None:
                    return
                yield clip
                del clip  # free it before the next clip is made

    def close(self) -> None:
        """End the pipeline; in several processes, :meth:`multitalk.parallel.Follower.serve` then returns."""
        self.executor.close()

    def preset_of(self, request: GenerationRequest) -> Preset:
        """Return the preset of a request, or the default preset."""
        return PRESETS[request.preset or self.default_preset]

    def work_of(self, request: GenerationRequest, seconds: float) -> JobWork:
        """Count the operations of a request with this many seconds of audio.

        The cuts of a video are only known once its job has looked for them.

        Raises:
            InvalidInput: The weights lack the request's model.
        """
        kind = choose_model(request, expected_seconds(request, seconds), self.components.audio_layer_sets)
        padded = padded_seconds(request, seconds)
        features = max(1, int(padded * FPS))
        frames = count_frames(padded, features, limit_seconds(request))
        spans = plan_clips(request, frames, features, kind.motion_frames_of(request))
        return self._count_work(request, spans)

    def _count_work(self, request: GenerationRequest, spans: Sequence[ClipSpan]) -> JobWork:
        workload = workload_of(request, self.preset_of(request), Workload.sound_seconds)
        return count_work(self.sizes, workload, spans)

    def _prepare(self, request: GenerationRequest, monitor: JobMonitor) -> JobConditions:
        """Plan a job, prepare the weights for it and encode its inputs."""
        check_fast_decoder(request, self.components)
        preset = self.preset_of(request)
        loras = job_loras(self.folder, preset, request.lora)
        self.plan = self._planner.plan(request, preset)
        if isinstance(self.speech_engine, KokoroEngine):  # the only engine with a network
            self.speech_engine.move(self.plan.speech_device)
        # the sound's length, and so the text's, decides which model is used
        outline = outline_job(
            request,
            preset,
            self.components.audio_layer_sets,
            monitor,
            self.speech_engine,
            self.voice_separator,
            self.plan.speech_device,
        )
        monitor.warnings += outline.notices
        self.executor.prepare(self.plan, loras, outline.audio_layers)
        monitor.warnings += self.executor.loras.warnings
        job = prepare_job(request, outline, self.components, monitor)
        monitor.warnings += notices(request, job.settings.height, job.settings.width, job.frames)
        return job

    def _clips(
        self,
        request: GenerationRequest,
        job: JobConditions,
        monitor: JobMonitor,
        frame_marks: FrameMarks,
        on_frames: OnFrames | None = None,
    ) -> Iterator[Clip]:
        units = self._count_work(request, job.spans).units
        clips = ClipGenerator(
            request, job, self.components, self.executor, self.plan, monitor, units, frame_marks
        )
        return clips.run(on_frames)

    def _write(
        self,
        writer: VideoWriter,
        request: GenerationRequest,
        job: JobConditions,
        monitor: JobMonitor,
        frame_marks: FrameMarks,
        on_clip: Callable[[Clip], None] | None,
        keep_partial: bool,
    ) -> bool:
        """Generate the clips of a job and encode them in the background.

        Returns:
            Whether the video is complete.
        """
        from ..media.background import BackgroundWriter

        settings = job.settings
        with writer, BackgroundWriter(writer) as encoder:
            if job.frames_before and request.continue_from is not None:
                with monitor.timed("video"):
                    for frames in all_frames(
                        request.continue_from, settings.height, settings.width, monitor.check_cancelled
                    ):
                        encoder.write(frames)
            try:
                for clip in self._clips(request, job, monitor, frame_marks, encoder.write):
                    with monitor.stage("video", clip.index):
                        if on_clip is not None:
                            on_clip(clip)
                    del clip  # free its frames before the next clip is made
                with monitor.timed("video"):
                    encoder.finish()
            except Cancelled:
                if not keep_partial:
                    raise  # at once: frames that wait for the encoder are dropped
                encoder.finish()
                if writer.frames == job.frames_before:
                    raise
                writer.end_here()
                return False
        return True


def _sign(
    marks: JobMarks,
    request: GenerationRequest,
    job: JobConditions,
    settings: str,
    monitor: JobMonitor,
    file: Path,
) -> None:
    """Sign a job's finished file.

    Args:
        marks: The job's marks.
        request: The job.
        job: Its encoded inputs.
        settings: The settings in the file's metadata, as JSON.
        monitor: Times it.
        file: The file.
    """
    model, source = job.outline.model, request.shown_video
    with monitor.timed("video"):
        marks.sign(
            file, model.title, model.license, json.loads(settings), None if source is None else source.file
        )


def _frame_marks(request: GenerationRequest, job: JobConditions, job_id: str | None) -> FrameMarks:
    """Make the marks in the frames of a job's files.

    Raises:
        InvalidInput: The label does not fit into the video.
    """
    from ..marks.frames import FrameMarks  # imports OpenCV, which startup does not need
    from ..marks.label import Label

    width, height = job.settings.width, job.settings.height
    label = None if request.label is None else Label(request.label.text, request.label.corner)
    if label is not None:
        label.check_size(width, height)
    if job_id is None:
        digest = hashlib.sha256(f"{job.seed} {width}x{height} ".encode())
        digest.update(np.ascontiguousarray(job.soundtrack.samples).data)
        job_id = digest.hexdigest()
    return FrameMarks.of_job(label, width * height, job_id, request.mark)


def connected_processes() -> int:
    """Return the number of processes that ``torch.distributed`` connects; 1 if it is not in use."""
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
