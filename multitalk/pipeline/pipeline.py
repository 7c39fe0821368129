"""MultiTalkPipeline: an image and voices in, a talking video out, clip by clip."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed

from ..conditioning.job import JobConditions, prepare_job
from ..conditioning.length import expected_seconds, limit_seconds, padded_seconds
from ..conditioning.notices import notices
from ..conditioning.outline import outline_job
from ..conditioning.scenes import plan_clips
from ..conditioning.timeline import ClipSpan, count_frames
from ..conditioning.voice_separator import VoiceSeparator
from ..errors import InvalidInput
from ..marks.job import JobMarks
from ..models.constants import FPS
from ..request.generation_request import GenerationRequest
from ..request.model_kinds import choose_model
from ..request.parts import Speech
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
from .job_file import JobFile, make_frame_marks
from .planning import JobPlanner, default_preset, job_loras, loading_workload, workload_of
from .previews import check_fast_decoder
from .progress import CancelSignal, JobMonitor, OnProgress
from .results import Clip, GenerationResult, OnPreview
from .work import JobWork, count_work

if TYPE_CHECKING:
    from ..marks.frames import FrameMarks
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
                that the same job gives the same pictures.

        Raises:
            InvalidInput: The request does not fit these weights, or the file cannot be written.
            Cancelled: `cancel` was set.
        """
        monitor = monitor or JobMonitor(on_progress, cancel, on_preview=on_preview)
        # first, since the certificate may be unusable
        marks = JobMarks(request.mark, request.is_composite)
        started = time.monotonic()
        with self.executor.job() as outcome, torch.inference_mode():
            job = self._prepare(request, monitor)
            frame_marks = make_frame_marks(request, job, job_id)
            file = JobFile(Path(path), request, job, marks, frame_marks, monitor, include_text, scripts)
            clips = partial(self._clips, request, job, monitor, frame_marks)
            complete = file.write(clips, on_clip, keep_partial)
            monitor.timings["total"] = time.monotonic() - started
            result = outcome.result = file.result(complete)
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
                clips = self._clips(request, job, monitor, make_frame_marks(request, job, job_id))
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


def connected_processes() -> int:
    """Return the number of processes that ``torch.distributed`` connects; 1 if it is not in use."""
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
