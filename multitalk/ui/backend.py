"""What the page's events and its API share: the queue, the models, the results, and whose files are whose."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder
from PIL import Image

from ..errors import InvalidInput, MultiTalkError
from ..media.sound import Sound, read_sound
from ..request.generation_request import GenerationRequest, Speech
from ..speech.speak import SpokenScript, speak
from . import fields
from .access import FileOwners, browser_of
from .estimates import describe_seconds
from .gallery import Gallery
from .jobs import JobQueue
from .options import IN_TURNS, SCRIPT
from .settings import PRESET_FIELDS
from .worker import ModelWorker

LETTERS_PER_SECOND = 14  # of speech, near enough for an estimate


@dataclass
class Backend:
    """Everything behind the page.

    Attributes:
        queue: The jobs.
        worker: The models.
        gallery: The results.
        owners: Whose the uploaded files are.
        folder: For files while they are made.
    """

    queue: JobQueue
    worker: ModelWorker
    gallery: Gallery
    owners: FileOwners
    folder: Path

    def own(self, paths: list[str | None], request: gr.Request) -> None:
        """Refuse files that another browser has brought.

        Raises:
            InvalidInput: One of them is another's.
        """
        browser = browser_of(request)
        for path in paths:
            if path and not self.owners.has(path, browser):
                raise InvalidInput("This file isn't yours: upload it in this browser.")

    def share(self, path: str | Path, request: gr.Request) -> str:
        """Give a file to the browser that a request comes from; returns the path that Gradio serves."""
        cached = save_file_to_cache(path, get_upload_folder())
        self.owners.add(cached, browser_of(request))
        return cached

    def say(self, speech: Speech) -> SpokenScript:
        """Speak words as the video's will be spoken.

        Raises:
            MultiTalkError: They can't be spoken.
        """
        return speak(speech, engine=self.worker.speech_engine())

    def save_sound(self, sound: Sound, name: str, request: gr.Request) -> str:
        """A sound as a WAV file of the browser's own."""
        import soundfile

        # a folder of its own, as a browser may ask for several at once
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            path = Path(folder) / name
            soundfile.write(path, sound.samples, sound.rate, subtype="PCM_16")
            return self.share(path, request)

    def times(
        self, form: fields.Form, size: tuple[int, int], seconds: dict[str, float | None]
    ) -> dict[str, str]:
        """How long a form's video would take with each preset, in words.

        Args:
            form: The fields' values.
            size: Of the picture.
            seconds: Of each person's sound, where there is one.
        """
        total = sound_seconds(form, seconds)
        told = {}
        for preset in self.worker.presets():
            given = fields.settings(form)
            if preset.name != form.get("preset"):  # the fields show the chosen preset's own values
                given = {key: value for key, value in given.items() if key not in PRESET_FIELDS}
            given["preset"] = preset.name
            try:
                request = GenerationRequest(image=Image.new("RGB", size), speech=Speech(text="a"), **given)
                planned = self.worker.plan(request, total)
            except (ValueError, MultiTalkError):  # the button says what is wrong with a setting
                continue
            if planned.seconds is not None and total:
                word = "about" if planned.runs else "perhaps"
                told[preset.name] = f"{word} {describe_seconds(planned.seconds)}"
        return told


def sound_seconds(form: fields.Form, seconds: dict[str, float | None]) -> float:
    """The length of a form's video, as near as it can be told before words are spoken."""
    speed = form.get("speed") or 1
    if form["mode"] == SCRIPT:
        return math.ceil(len(form["script"] or "") / LETTERS_PER_SECOND / speed)
    who = fields.speakers(form)
    lengths = []
    for person in fields.people_of(form):
        if person in who:
            lengths.append(len(form[f"{person}_text"] or "") / LETTERS_PER_SECOND / speed)
        else:
            lengths.append(seconds.get(person) or 0.0)
    return sum(lengths) if form["mode"] == IN_TURNS else max(lengths)


@lru_cache(maxsize=64)
def _read_length(path: str) -> float:
    return read_sound(path).seconds


def length_of(path: str | None) -> float | None:
    """Seconds of a sound file; None without one.

    Raises:
        InvalidInput: It can't be read.
    """
    return _read_length(path) if path else None
