"""The model thread: loads the pipeline, generates each job's video, and reports what is ready."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, MultiTalkError, WeightsError
from ..media.fragments import write_clip, write_preview
from ..pipeline.progress import JobMonitor, Progress
from ..request.checks import check_choice, check_lora_file
from ..request.model_kinds import choose_model, takes_video
from ..request.presets import PRESETS
from ..start.cold_start import ColdStart
from ..weights.folders import EMBEDDED_FOLDER, FAST_DECODER, has_voice_separator, listed_audio_layers
from .estimates import Estimate, Estimator, seconds_of
from .gallery import Gallery
from .job import Job, PreviewNumber

if TYPE_CHECKING:
    from ..pipeline.pipeline import MultiTalkPipeline
    from ..pipeline.results import Preview
    from ..request.generation_request import GenerationRequest
    from ..request.presets import Preset
    from ..speech.engine import SpeechEngine

logger = logging.getLogger(__name__)


class ModelWorker:
    """The work of the model thread, and the state that the page may read meanwhile.

    Args:
        weights: A weights folder; None searches for one.
        gallery: Folder of finished videos.
        estimator: Learns their run times.
        start: Startup record that already reads the weights; None starts reading in `load`.
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
        """Load the models; a failure is reported with the first video that is requested."""
        started = time.monotonic()
        start = self._start or ColdStart(self.weights)
        try:
            # not lean: the page is open, and its users may need any package at any time
            pipeline = start.load_pipeline(self.weights, lean=False)
            self.estimator.measure(pipeline)
            self.pipeline = pipeline
            start.ready()
            logger.info("models loaded in %.1f s", time.monotonic() - started)
            logger.debug("startup:\n%s", start.table())
        except MultiTalkError as error:
            self.failure = str(error)
            logger.error("%s", error)
        except Exception:
            self.failure = "Loading the models failed. See the server log."
            logger.exception("loading the models failed")
        finally:
            self.loaded.set()
        # it imports scipy, which takes a second in which the progress of the first job would stand still
        import pyloudnorm  # noqa: F401

    @property
    def status(self) -> tuple[str, str]:
        """The state "loading", "ready" or "failed", and a line about it for the page."""
        if self.failure is not None:
            return "failed", f"Videos cannot be generated: {self.failure}"
        if self.pipeline is None:
            return "loading", "Loading models. You can fill in the form meanwhile."
        device = self.pipeline.plan.device
        return "ready", f"Ready ({'CPU' if device.type == 'cpu' else _gpu_name(device)})"

    @property
    def has_demo_weights(self) -> bool:
        """Whether the weights animate drawn faces only."""
        if self.pipeline is None:
            return self._start is not None and self._start.folder == EMBEDDED_FOLDER
        return bool(self.pipeline.folder.manifest.default_preset == "demo")

    def presets(self) -> list[Preset]:
        """Return the presets that the weights support, their default first; empty while they load."""
        if self.pipeline is None:
            return []
        from ..pipeline.planning import is_usable

        folder = self.pipeline.folder
        default = self.pipeline.default_preset
        usable = [
            preset
            for preset in PRESETS.values()
            # the demo preset and the demo weights only work together
            if (preset.name == "demo") == (default == "demo") and is_usable(preset, folder)
        ]
        return sorted(usable, key=lambda preset: preset.name != default)

    def speech_engine(self) -> SpeechEngine:
        """Return the speech engine; waits for the models, which include the better voices.

        Raises:
            MultiTalkError: The models cannot be loaded.
        """
        return self._await_pipeline().speech_engine

    def lora_file(self, name: Any) -> Path:
        """Return a LoRA in the weights' ``loras/`` by its file name; waits for the models.

        Raises:
            MultiTalkError: The models cannot be loaded.
            InvalidInput: There is no such file; the message lists the existing ones.
        """
        folder = self._await_pipeline().folder
        names = folder.lora_names()
        if not names:
            raise InvalidInput("lora is not supported: these weights have no LoRAs to choose from.", "lora")
        # looked up in the list, so that no name leads outside the folder
        return folder.lora_file(check_choice(name, "lora", names))

    def lora_names(self) -> list[str]:
        """Return the names of the LoRAs in the weights' ``loras/``; empty while the models load."""
        return [] if self.pipeline is None else self.pipeline.folder.lora_names()

    def can_dub(self) -> bool:
        """Return whether the weights contain a model that takes a video; known before they are loaded."""
        return takes_video(self.audio_layers())

    def audio_layers(self) -> Sequence[str]:
        """Return the names of the audio layers in the weights, the default first; empty if it is unknown."""
        if self.pipeline is not None:
            return self.pipeline.components.audio_layer_sets
        if self._start is None or self._start.folder is None:
            return ()
        return listed_audio_layers(self._start.folder)

    def has_fast_decoder(self) -> bool:
        """Return whether the weights contain the small decoder; known before they are loaded."""
        if self.pipeline is not None:
            return self.pipeline.components.fast_decoder is not None
        return (
            self._start is None or self._start.folder is None or (self._start.folder / FAST_DECODER).is_dir()
        )

    def can_isolate(self) -> bool:
        """Return whether a voice can be isolated from music; known before the weights are loaded."""
        if self.pipeline is not None:
            return self.pipeline.voice_separator.is_available
        folder = None if self._start is None else self._start.folder
        return folder is None or has_voice_separator(folder)

    def check_model(self, request: GenerationRequest) -> None:
        """Check that the weights contain what a request needs, as far as that is known while they load.

        Raises:
            InvalidInput: They do not.
        """
        if self.pipeline is None:
            return
        from ..conditioning.isolation import check_separator
        from ..pipeline.previews import check_fast_decoder

        check_fast_decoder(request, self.pipeline.components)
        check_separator(request, self.pipeline.voice_separator)
        if request.model is not None or request.video is not None:
            choose_model(request, 0.0, self.pipeline.components.audio_layer_sets)

    def check_lora(self, path: str | Path) -> tuple[str, ...]:
        """Check that an uploaded LoRA can be used, as far as that is known while the models load.

        Returns:
            What will be left out, one sentence each.

        Raises:
            InvalidInput: It cannot be used.
        """
        from ..weights.lora import LoraFile

        try:
            if self.pipeline is None:
                return LoraFile(check_lora_file(path)).warnings
            return self.pipeline.executor.loras.check(check_lora_file(path))
        except WeightsError as error:
            raise InvalidInput(str(error), "lora") from None

    def _await_pipeline(self) -> MultiTalkPipeline:
        """Wait for the pipeline.

        Raises:
            MultiTalkError: The models cannot be loaded.
        """
        self.loaded.wait()
        if self.pipeline is None:
            raise MultiTalkError(str(self.failure))
        return self.pipeline

    def generate(self, job: Job) -> bool:
        """Generate a job's video; return whether it is complete, not stopped early.

        Raises:
            MultiTalkError: The job failed, or was canceled before its first clip.
        """
        if self.pipeline is None:
            raise MultiTalkError(str(self.failure))
        assert job.request is not None
        fps = self.pipeline.fps

        def on_progress(progress: Progress) -> None:
            job.progress = progress
            job.clock.note(progress)

        def on_clip(clip: object) -> None:
            path = job.folder / f"{len(job.clips)}.mp4"
            write_clip(clip, path, fps)  # type: ignore[arg-type]
            job.clips.append(path)
            job.preview = None

        def on_preview(preview: Preview) -> None:
            number = PreviewNumber(preview.clip, preview.step)
            write_preview(preview, job.preview_file(*number))
            job.preview = number

        estimate = self.estimate(job.request, seconds_of(job.request))
        if estimate is not None:  # weights may be copied before the pipeline's first report
            on_progress(Progress("start", 0, 0, 0, 0, 0.0, estimate.seconds, estimate.costs.preparation))
        result = self.pipeline.generate(
            job.request,
            job.folder / "video.mp4",
            on_clip=on_clip,
            keep_partial=True,
            include_text=True,
            monitor=JobMonitor(on_progress, job.cancel, estimate.costs if estimate else None, on_preview),
            scripts=job.scripts,
            job_id=job.id,
        )
        job.warnings, job.marks = result.warnings, result.marks
        job.signed_by, job.watermark = result.signed_by, result.watermark
        job.result = self.gallery.add(result.path, job.title, result.seed, job.owner, job.source)
        if result.complete:
            self.estimator.learn(self.pipeline.work_of(job.request, result.seconds), result.timings)
        return result.complete

    def estimate(self, request: GenerationRequest, seconds: float) -> Estimate | None:
        """Estimate the run time of a request with this many seconds of audio; None while models load."""
        if self.pipeline is None:
            return None
        return self.estimator.estimate(self.pipeline.work_of(request, seconds))


def _gpu_name(device: object) -> str:
    import torch

    return torch.cuda.get_device_name(device)  # type: ignore[arg-type]
