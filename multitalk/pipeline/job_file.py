"""The video file of a job: its marks, its metadata, and the writing of its frames."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..conditioning.continued import all_frames, shows_own_label
from ..conditioning.job import JobConditions
from ..conditioning.metadata import make_metadata
from ..errors import Cancelled
from ..marks.job import JobMarks
from ..models.constants import FPS
from ..request.generation_request import GenerationRequest
from ..request.parts import Speech
from .decode import OnFrames
from .progress import JobMonitor
from .results import Clip, GenerationResult

if TYPE_CHECKING:
    from ..marks.frames import FrameMarks


class JobFile:
    """Writes the video of a job while its clips are generated, and signs it.

    Args:
        path: The mp4 file.
        request: The job.
        job: Its encoded inputs.
        marks: The marks of its files.
        frame_marks: Those that are in the frames.
        monitor: Times the writing.
        include_text: Whether the metadata has the prompts and the spoken text.
        scripts: With `include_text`: for each person whose audio was made from text, that text.

    Raises:
        InvalidInput: The file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        request: GenerationRequest,
        job: JobConditions,
        marks: JobMarks,
        frame_marks: FrameMarks,
        monitor: JobMonitor,
        include_text: bool,
        scripts: Mapping[str, Speech] | None,
    ) -> None:
        from ..media.video import VideoWriter  # only files need FFmpeg

        self._path, self._request, self._job, self._monitor = path, request, job, monitor
        self._marks, self._frame_marks = marks, frame_marks
        self._writer = VideoWriter(
            path,
            job.settings.width,
            job.settings.height,
            fps=FPS,
            sound=job.soundtrack,
            metadata=self._metadata(include_text, scripts) | marks.tags,
            # not a method: a cycle with the writer would keep the job in memory
            complete=partial(_sign, marks, request, job, self._metadata()["comment"], monitor),
            frame_marks=replace(frame_marks, labeled=self._labeled_frames()),
        )

    def write(
        self,
        clips: Callable[[OnFrames], Iterator[Clip]],
        on_clip: Callable[[Clip], None] | None,
        keep_partial: bool,
    ) -> bool:
        """Generate the clips and encode them in the background.

        Args:
            clips: Generates them, and passes on their frames as soon as they are decoded.
            on_clip: Called with each clip.
            keep_partial: If the job is cancelled after its first clip, finish the file with the clips so far.

        Returns:
            Whether the video is complete.

        Raises:
            Cancelled: The job was cancelled, and nothing is kept.
        """
        from ..media.background import BackgroundWriter

        writer, monitor = self._writer, self._monitor
        with writer, BackgroundWriter(writer) as encoder:
            if self._job.frames_before:
                with monitor.timed("video"):
                    for frames in self._frames_before():
                        encoder.write(frames)
            try:
                for clip in clips(encoder.write):
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
                if writer.frames == self._job.frames_before:
                    raise
                writer.end_here()
                return False
        return True

    def result(self, complete: bool) -> GenerationResult:
        """Describe the written file.

        Args:
            complete: Whether the video is complete.
        """
        job, writer, monitor, marks = self._job, self._writer, self._monitor, self._marks
        seconds = writer.frames / FPS
        return GenerationResult(
            path=self._path,
            frames=writer.frames,
            seconds=seconds,
            seed=job.seed,
            timings=dict(monitor.timings),
            width=job.settings.width,
            height=job.settings.height,
            model=job.outline.audio_layers,
            speech=None if job.speech is None else job.speech.until(seconds),
            warnings=tuple(dict.fromkeys([*self._request.warnings, *monitor.warnings, *marks.warnings])),
            complete=complete,
            marks=marks.names(self._frame_marks.number),
            signed_by=marks.signed_by,
            watermark=self._frame_marks.number,
            last_frame=self._last_frame(),
        )

    def _last_frame(self) -> Image.Image:
        """Return the last frame with its marks: those in its pixels, and XMP, which `save_png` writes."""
        from ..media.xmp import XMP

        picture = Image.fromarray(self._writer.last_frame)
        if packet := self._marks.tags.get(XMP):
            picture.info[XMP] = packet
        return picture

    def _metadata(
        self, include_text: bool = False, scripts: Mapping[str, Speech] | None = None
    ) -> dict[str, str]:
        job, outline = self._job, self._job.outline
        return make_metadata(
            self._request,
            outline.preset,
            outline.model,
            job.settings.sampling,
            job.seed,
            len(job.spans),
            include_text,
            scripts,
        )

    def _labeled_frames(self) -> int:
        """Return how many of the first frames show the label of the video that the job continues."""
        video, settings = self._request.continue_from, self._job.settings
        if video is None or not self._job.frames_before or self._request.label is None:
            return 0
        return self._job.frames_before if shows_own_label(video, settings.height, settings.width) else 0

    def _frames_before(self) -> Iterator[np.ndarray]:
        """Yield the frames of the video that the job continues."""
        video, settings = self._request.continue_from, self._job.settings
        assert video is not None, "the file starts with it"
        return all_frames(video, settings.height, settings.width, self._monitor.check_cancelled)


def _sign(
    marks: JobMarks,
    request: GenerationRequest,
    job: JobConditions,
    settings: str,
    monitor: JobMonitor,
    file: Path,
) -> None:
    """Sign a finished file, whose manifest has the settings (JSON, without texts)."""
    model, video = job.outline.model, request.shown_video
    with monitor.timed("video"):
        source = None if video is None else video.file
        marks.sign(file, model.title, model.license, json.loads(settings), source)


def make_frame_marks(request: GenerationRequest, job: JobConditions, job_id: str | None) -> FrameMarks:
    """Make the marks in the frames of a job's files.

    Args:
        request: The job.
        job: Its encoded inputs.
        job_id: Decides the number in the watermark; None: the seed, the size and the audio do.
    """
    from ..marks.frames import FrameMarks  # imports OpenCV, which startup does not need
    from ..marks.watermark import MIN_PIXELS, Watermark, number_of

    width, height = job.settings.width, job.settings.height
    label = None if request.label is None else request.label.drawable()
    is_watermarked = request.mark and width * height >= MIN_PIXELS
    if is_watermarked and job_id is None:
        digest = hashlib.sha256(f"{job.seed} {width}x{height} ".encode())
        digest.update(np.ascontiguousarray(job.soundtrack.samples).data)
        job_id = digest.hexdigest()
    watermark = Watermark(number_of(str(job_id))) if is_watermarked else None
    return FrameMarks(watermark, label)
