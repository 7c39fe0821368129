"""The one model thread: loads the pipeline, makes each job's video, and tells what is ready."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, MultiTalkError
from ..media.fragments import write_clip
from ..request.checks import check_choice
from ..request.presets import PRESETS
from ..start.cold_start import ColdStart
from .estimates import Estimator, Work, count_work
from .gallery import Gallery
from .jobs import Job

if TYPE_CHECKING:
    from ..pipeline.pipeline import MultiTalkPipeline
    from ..pipeline.progress import Progress
    from ..request.generation_request import GenerationRequest
    from ..request.presets import Preset
    from ..speech.engine import SpeechEngine

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Planned:
    """How a video would be made.

    Attributes:
        seconds: Of making it, or None before that can be told.
        runs: How many past runs that is told from.
    """

    seconds: float | None
    runs: int


class ModelWorker:
    """What runs on the model thread, and what the page may ask about it meanwhile.

    Args:
        weights: A weights folder; None searches.
        gallery: Where finished videos go.
        estimator: Learns how long they take.
        start: What keeps the start's time and already reads the weights; None begins it when they are loaded.
    """

    def __init__(
        self, weights: str | None, gallery: Gallery, estimator: Estimator, start: ColdStart | None = None
    ) -> None:
        self._start = start
        self.weights, self.gallery, self.estimator = weights, gallery, estimator
        self.pipeline: MultiTalkPipeline | None = None
        self.failure: str | None = None
        self.loaded = threading.Event()

    def load(self) -> None:
        """Load the models; what is wrong with them is told to whoever asks for a video."""
        started = time.monotonic()
        start = self._start or ColdStart(self.weights)
        try:
            # not lean: the page is open, and what a visitor does may need any package at any time
            pipeline = start.load_pipeline(self.weights, lean=False)
            self.estimator.measure(pipeline)
            self.pipeline = pipeline
            start.ready()
            logger.info("models loaded in %.1f s\n%s", time.monotonic() - started, start.table())
        except MultiTalkError as error:
            self.failure = str(error)
            logger.error("%s", error)
        except Exception:
            self.failure = "The models could not be loaded; the server's log says why."
            logger.exception("loading failed")
        finally:
            self.loaded.set()

    @property
    def status(self) -> tuple[str, str]:
        """ "loading", "ready" or "failed", and a line about it for people."""
        if self.failure is not None:
            return "failed", f"No video can be made: {self.failure}"
        if self.pipeline is None:
            return "loading", "The models are still loading. Fill in everything meanwhile."
        device = self.pipeline.plan.device
        name = "this computer's processor" if device.type == "cpu" else _gpu_name(device)
        return "ready", f"Ready, on {name}"

    def presets(self) -> list[Preset]:
        """The presets that these weights can run, what they are best at first; empty while they load."""
        if self.pipeline is None:
            return []
        from ..pipeline.planning import job_loras

        folder = self.pipeline.folder
        best = folder.manifest.default_preset
        usable = []
        for preset in PRESETS.values():
            # the demo's settings are for its weights alone, and its weights for those alone
            if (preset.name == "demo") != (best == "demo"):
                continue
            try:
                job_loras(folder, preset)
            except MultiTalkError:
                continue
            usable.append(preset)
        return sorted(usable, key=lambda preset: preset.name != best)

    def speech_engine(self) -> SpeechEngine:
        """Who speaks; waits for the models, which bring the better voices.

        Raises:
            MultiTalkError: The models can't be loaded.
        """
        return self._await_pipeline().speech_engine

    def lora_file(self, name: Any) -> Path:
        """A LoRA that lies in the weights' ``loras/``, by its file's name; waits for the models.

        Raises:
            MultiTalkError: The models can't be loaded.
            InvalidInput: There is no such file, with the list of those that are there.
        """
        folder = self._await_pipeline().folder
        names = folder.lora_names()
        if not names:
            raise InvalidInput(
                "lora can't be given here: these weights have no loras/ to choose from.", "lora"
            )
        # looked for in the list, so that no name leads out of the folder
        return folder.lora_file(check_choice(name, "lora", names))

    def _await_pipeline(self) -> MultiTalkPipeline:
        """The pipeline, once it is loaded.

        Raises:
            MultiTalkError: It can't be.
        """
        self.loaded.wait()
        if self.pipeline is None:
            raise MultiTalkError(str(self.failure))
        return self.pipeline

    def make(self, job: Job) -> bool:
        """Make a job's video; returns whether it is whole, or what was done when it was stopped.

        Raises:
            MultiTalkError: It can't be made, or was cancelled before anything was done.
        """
        if self.pipeline is None:
            raise MultiTalkError(str(self.failure))
        assert job.request is not None
        fps = self.pipeline.fps

        def on_progress(progress: Progress) -> None:
            job.progress = progress

        def on_clip(clip: object) -> None:
            path = job.folder / f"{len(job.clips)}.mp4"
            write_clip(clip, path, fps)  # type: ignore[arg-type]
            job.clips.append(path)

        result = self.pipeline.generate(
            job.request,
            job.folder / "video.mp4",
            on_progress,
            job.cancel,
            on_clip,
            keep_partial=True,
            include_text=True,
            scripts=job.said,
        )
        job.result = self.gallery.adopt(result.path, job.title, result.seed)
        if result.complete and (work := self._work(job.request, result.seconds)) is not None:
            self.estimator.learn(work, result.timings)
        return result.complete

    def plan(self, request: GenerationRequest, seconds: float) -> Planned:
        """How long a request would take, whose sound has so many seconds."""
        work = self._work(request, seconds)
        told = None if work is None else self.estimator.seconds(work)
        return Planned(*told) if told else Planned(None, 0)

    def _work(self, request: GenerationRequest, seconds: float) -> Work | None:
        if self.pipeline is None or self.estimator.sizes is None:
            return None
        from ..conditioning.timeline import clip_spans, count_frames
        from ..pipeline.planning import workload_of

        job = workload_of(request, self.pipeline.preset_of(request), seconds)
        features = max(1, int(seconds * self.pipeline.fps))
        frames = count_frames(seconds, features, request.max_seconds)
        clips = clip_spans(frames, features, request.frames_per_clip, request.motion_frames)
        return count_work(self.estimator.sizes, job, len(clips))


def _gpu_name(device: object) -> str:
    import torch

    return torch.cuda.get_device_name(device)  # type: ignore[arg-type]


def results_folder(configured: str | None) -> Path:
    """Where results go: as configured, else ``outputs`` in the working directory."""
    return Path(configured or "outputs").resolve()
