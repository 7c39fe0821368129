"""The page's functions for programs: ``generate``, ``speak`` and ``detect_people`` of Gradio's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import gradio as gr

from ..errors import InvalidInput, MultiTalkError
from ..media.mix import soundtrack
from ..media.picture import read_picture
from ..request.generation_request import Speech
from ..request.script import PEOPLE
from . import fields
from .access import browser_of
from .api_request import build_request
from .backend import Backend
from .faces import find_people
from .jobs import Job
from .routes import STAGES

LOOK_EVERY = 0.3  # seconds


class Api:
    """The documented endpoints.

    Args:
        backend: Does the work.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def register(self) -> None:
        """Add the endpoints; called inside the page. Their components are for the types alone."""
        with gr.Group(visible=False):
            image, audio1, audio2 = gr.File(label="image"), gr.File(label="audio1"), gr.File(label="audio2")
            speech, boxes, settings = (gr.JSON(label=name) for name in ("speech", "boxes", "settings"))
            turns, preset = gr.Textbox("together", label="turns"), gr.Textbox("", label="preset")
            prompt, size = gr.Textbox("", label="prompt"), gr.Textbox("", label="size")
            seed = gr.Number(42, label="seed", precision=0)
            video, result = gr.File(label="video"), gr.JSON(label="result")
            inputs = [image, audio1, audio2, speech, turns, boxes, prompt, preset, size, seed, settings]
            gr.Button().click(
                self.generate, inputs, [video, result], api_name="generate", concurrency_limit=None
            )
            words, voice1, voice2 = (gr.Textbox("", label=name) for name in ("text", "voice1", "voice2"))
            language, speed = gr.Textbox("a", label="language"), gr.Number(1.0, label="speed")
            sound, spoken = gr.File(label="sound"), gr.JSON(label="spoken")
            gr.Button().click(
                self.speak, [words, voice1, voice2, language, speed], [sound, spoken], api_name="speak"
            )
            picture, people = gr.File(label="image"), gr.JSON(label="people")
            gr.Button().click(self.detect_people, picture, people, api_name="detect_people")

    async def generate(
        self,
        request: gr.Request,
        image: str | None,
        audio1: str | None = None,
        audio2: str | None = None,
        speech: Any = None,
        turns: str = "together",
        boxes: Any = None,
        prompt: str = "",
        preset: str = "",
        size: str = "",
        seed: int | None = 42,
        settings: Any = None,
    ) -> AsyncIterator[tuple[str | None, dict[str, Any]]]:
        """Make a video.

        Args:
            request: Gradio's.
            image: The picture.
            audio1: Person 1's sound (a sound file, or a video with sound), or None.
            audio2: Person 2's, or None.
            speech: Words instead, as a request's ``speech``: a text, or {"text": ..., "voices": ...}.
            turns: "together" or "in_order".
            boxes: {"person1": [x0, y0, x1, y1], ...} in pixels of the image; None: halves.
            prompt: What the video shows; empty: a neutral sentence.
            preset: A preset's name; empty: what the weights are best at.
            size: "480p", "720p", ...; empty: the preset's.
            seed: -1 draws one.
            settings: Any other fields of a request, by name; without files, but with the names of LoRAs that
                lie beside the weights.

        Yields:
            A finished clip's file, then the whole video's; and where the job stands. A call that is
            cancelled stops its job.
        """
        given = {"turns": turns, "boxes": boxes, "prompt": prompt, "preset": preset, "size": size}
        given |= {"speech": speech, "seed": seed}
        sounds = {person: path for person, path in zip(PEOPLE, (audio1, audio2), strict=True) if path}
        try:
            self.backend.own([image, *sounds.values()], request)
            find_lora = self.backend.worker.lora_file
            job_request = await asyncio.to_thread(build_request, image, sounds, given, settings, find_lora)
            title = job_request.speech.text if job_request.speech is not None else "video"
            job = self.backend.queue.submit(job_request, title, browser_of(request))
        except MultiTalkError as error:
            raise gr.Error(_readable(error, [image, *sounds.values()]), print_exception=False) from None
        try:
            async for update in self._follow(job, request):
                yield update
        finally:
            self.backend.queue.cancel(job)  # of no effect on one that is over

    async def _follow(
        self, job: Job, request: gr.Request
    ) -> AsyncIterator[tuple[str | None, dict[str, Any]]]:
        told: dict[str, Any] | None = None
        given, over = 0, False
        while not over:
            over = job.is_over  # before its clips are looked at: after it come no more
            now = self._state(job)
            clips = job.clips[given:]
            for clip in clips:
                given += 1
                # the job may be done by now, but its video isn't given yet
                yield self.backend.share(clip, request), now | {"status": "running", "clips_done": given}
            if not (over or clips) and now != told:
                yield None, now
            told = now
            if not over:
                await asyncio.sleep(LOOK_EVERY)
        result = None if job.result is None else self.backend.gallery.path(job.result)
        if result is None:
            raise gr.Error(job.error or "The job was cancelled.", print_exception=False)
        known = self.backend.gallery.result(result.name)
        facts = {"status": job.status, "name": result.name, "settings": known.settings if known else {}}
        yield self.backend.share(result, request), facts | {"seconds": known.seconds if known else None}

    def _state(self, job: Job) -> dict[str, Any]:
        state: dict[str, Any] = {"status": job.status, "waiting_for": self.backend.queue.place(job)}
        state["clips_done"] = len(job.clips)
        if (progress := job.progress) is not None:
            state |= {
                "stage": STAGES.get(progress.stage, progress.stage),
                "fraction": round(progress.fraction, 3),
            }
            state |= {
                "clip": progress.clip,
                "clips": progress.clips,
                "step": progress.step,
                "steps": progress.steps,
            }
        return state

    def speak(
        self,
        request: gr.Request,
        text: str,
        voice1: str = "",
        voice2: str = "",
        language: str = "a",
        speed: float = 1.0,
    ) -> tuple[str, dict[str, Any]]:
        """Say words.

        Args:
            request: Gradio's.
            text: What is said; ``(s1) ... (s2) ...`` for two people.
            voice1: Person 1's voice; empty: the engine's choice.
            voice2: Person 2's.
            language: The engine's code, such as "a" for American English.
            speed: 1 is the voice's own.

        Returns:
            A WAV file, and who says what when.
        """
        voices = {person: voice for person, voice in zip(PEOPLE, (voice1, voice2), strict=True) if voice}
        try:
            speech = Speech.checked({"text": text, "voices": voices, "language": language, "speed": speed})
            spoken = self.backend.say(speech)
        except MultiTalkError as error:
            raise gr.Error(str(error), print_exception=False) from None
        sound = soundtrack(list(spoken.tracks.values()))
        return self.backend.save_sound(sound, "words.wav", request), asdict(spoken.report)

    def detect_people(self, image: str | None, request: gr.Request) -> dict[str, Any]:
        """Find two people in a picture.

        Args:
            image: The picture.
            request: Gradio's.

        Returns:
            A request's ``boxes``, how many faces were found, and the picture's size.
        """
        try:
            self.backend.own([image], request)
            picture = read_picture(image)
        except InvalidInput as error:
            raise gr.Error(_readable(error, [image]), print_exception=False) from None
        found = find_people(picture)
        return {"boxes": found.boxes, "faces": found.faces, "width": picture.width, "height": picture.height}


def _readable(error: MultiTalkError, paths: list[str | None]) -> str:
    return str(fields.readable(error, {str(number): path for number, path in enumerate(paths)}))
