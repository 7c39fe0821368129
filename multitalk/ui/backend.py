"""What the page's events and the API share: queue, models, results, and access to files."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import gradio as gr
from PIL import Image

from ..errors import InvalidInput, MultiTalkError
from ..media.sound import Sound
from ..media.sound_reading import read_length
from ..media.source_video import Video, read_video
from ..patches.gradio import cache_file
from ..request.build import build_request
from ..request.generation_request import GenerationRequest
from ..request.parts import Speech
from ..request.voice_checks import MIN_SECONDS
from ..speech.speak import SpokenScript, check_speech, speak
from . import fields
from .access import TOKEN_HEADER, browser_of
from .estimates import describe_seconds, spoken_seconds
from .gallery import Gallery
from .job_owner import owner_of
from .jobs import JobQueue
from .long_jobs import ASK_ABOVE_MINUTES
from .options import IN_TURNS, SCRIPT
from .preset_fields import PRESET_FIELDS
from .sharing import Sharing, VisibleResults
from .uploaded_files import FileOwners
from .worker import ModelWorker

FOREIGN_FILE = (
    "File belongs to another browser. Upload it in this browser. Programs that keep no cookies must send the "
    f"header {TOKEN_HEADER}."
)


@dataclass
class Backend:
    """Everything behind the page.

    Attributes:
        queue: The jobs.
        worker: The models.
        gallery: The results.
        owners: Owners of the uploaded files.
        folder: Folder of temporary files.
        sharing: Who may see and delete which results.
        ask_above: Minutes that a video may take without a question.
    """

    queue: JobQueue
    worker: ModelWorker
    gallery: Gallery
    owners: FileOwners
    folder: Path
    sharing: Sharing = field(default_factory=Sharing)
    ask_above: float = ASK_ABOVE_MINUTES

    def visible(self, request: gr.Request) -> VisibleResults:
        """Return the results that the browser that sent a request may see."""
        return VisibleResults(self.gallery, self.sharing, owner_of(request))

    def check_access(self, paths: Iterable[str | None], request: gr.Request) -> None:
        """Check that files belong to the browser that sent a request.

        Raises:
            InvalidInput: A file was uploaded by another browser.
        """
        browser = browser_of(request)
        for path in paths:
            if path and not self.owners.has(path, browser):
                raise InvalidInput(FOREIGN_FILE)

    def check_speech(self, job_request: GenerationRequest) -> None:
        """Check a job's text before it is queued, if the models are loaded; the job checks it again.

        Raises:
            InvalidInput: The text cannot be spoken.
        """
        if job_request.speech is not None and self.worker.pipeline is not None:
            check_speech(job_request.speech, job_request.spoken[0], self.worker.speech_engine())

    def share(self, path: str | Path, request: gr.Request) -> str:
        """Give a file to the browser that sent a request; return the path that Gradio serves."""
        cached = cache_file(path)
        self.owners.add(cached, browser_of(request))
        return cached

    def synthesize(self, speech: Speech) -> SpokenScript:
        """Convert text to speech, as for a video.

        Raises:
            MultiTalkError: The text cannot be spoken.
        """
        return speak(speech, engine=self.worker.speech_engine())

    def save_sound(self, sound: Sound, name: str, request: gr.Request) -> str:
        """Save audio as a WAV file for the browser that sent a request."""
        import soundfile

        # a separate folder, since a browser may request several files at once
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            path = Path(folder) / name
            soundfile.write(path, sound.samples, sound.rate, subtype="PCM_16")
            return self.share(path, request)

    def save_picture(self, picture: Image.Image, name: str, request: gr.Request) -> str:
        """Save an image as a PNG file for the browser that sent a request."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            path = Path(folder) / name
            picture.save(path, "PNG", compress_level=1)
            return self.share(path, request)

    def times(
        self, form: fields.Form, size: tuple[int, int], seconds: dict[str, float | None]
    ) -> dict[str, str]:
        """Estimate how long a form's video takes with each preset; return texts by preset.

        Args:
            form: Values by field name.
            size: (width, height) of the image.
            seconds: Length of each person's audio, if provided.
        """
        total = sound_seconds(form, seconds)
        continued = read_continued(form["continue_from"]) if form.get("continue_from") else None
        times = {}
        for preset in self.worker.presets():
            settings = fields.setting_fields(form)
            if preset.name != form.get("preset"):  # the form has the values of the selected preset
                settings = {name: value for name, value in settings.items() if name not in PRESET_FIELDS}
            job_fields = {"image": Image.new("RGB", size), "speech": "a", **settings, "preset": preset.name}
            if continued is not None:
                job_fields |= {"continue_from": continued, "join": False}
            try:
                estimate = self.worker.estimate(build_request(job_fields), total)
            except MultiTalkError:  # an invalid setting is reported when the video is requested
                continue
            if estimate is not None and total:
                word = "about" if estimate.runs else "estimated"
                times[preset.name] = f"{word} {describe_seconds(estimate.seconds)}"
        return times


def sound_seconds(form: fields.Form, seconds: dict[str, float | None]) -> float:
    """Estimate the length of a form's video before its text is spoken."""
    speed = form.get("speed") or 1
    if form["mode"] == SCRIPT:
        return math.ceil(spoken_seconds(form["script"], speed))
    lengths = []
    for person in fields.speakers(form):
        if person in fields.text_speakers(form):
            lengths.append(spoken_seconds(form[f"{person}_text"], speed))
        else:
            lengths.append(seconds.get(person) or 0.0)
    return sum(lengths) if form["mode"] == IN_TURNS else max(lengths)


@lru_cache(maxsize=64)
def _read_length(path: str) -> float:
    # audio that is too long is reported where it is uploaded
    return read_length(path, max_seconds=MIN_SECONDS)


@lru_cache(maxsize=2)  # each is an open file
def read_continued(path: str) -> Video | None:
    """Return a video to continue; None if it cannot be read, which is reported where it is chosen."""
    try:
        return replace(read_video(path, "continue_from"), has_sound=False)
    except MultiTalkError:
        return None


def length_of(path: str | None) -> float | None:
    """Return the length of an audio file in seconds; None without a file.

    Raises:
        InvalidInput: The file cannot be read.
    """
    return _read_length(path) if path else None
