"""The documented endpoints for Gradio's client: ``generate``, ``speak`` and ``detect_people``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from functools import partial
from typing import Any

import gradio as gr

from ..errors import MultiTalkError
from ..media.mix import soundtrack
from ..media.picture import read_picture
from ..media.stopping import in_stoppable_thread
from ..request.parts import Speech
from ..request.script import PAIR
from . import parts
from .api_request import find_uploaded, request_from_call, settings_without_paths, with_uploaded_loras
from .backend import Backend
from .faces import find_people
from .form_errors import hide_folders
from .job import Job
from .job_owner import owner_of
from .routes import STAGES

POLL_SECONDS = 0.3


class Api:
    """The documented endpoints.

    Args:
        backend: Queue, models and results.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def register(self) -> None:
        """Add the endpoints to the page that is being built; their components only define the types."""
        with gr.Group(visible=False):
            image, audio1, audio2 = gr.File(label="image"), gr.File(label="audio1"), gr.File(label="audio2")
            speech, boxes, settings = (gr.JSON(label=name) for name in ("speech", "boxes", "settings"))
            turns, preset = gr.Textbox("together", label="turns"), gr.Textbox("", label="preset")
            prompt, size = gr.Textbox("", label="prompt"), gr.Textbox("", label="size")
            seed = parts.Number(42, label="seed", precision=0)
            video, result = gr.File(label="video"), gr.JSON(label="result")
            loras = gr.File(label="loras", file_count="multiple")
            inputs = [
                image,
                audio1,
                audio2,
                speech,
                turns,
                boxes,
                prompt,
                preset,
                size,
                seed,
                settings,
                loras,
            ]
            gr.Button().click(
                self.generate, inputs, [video, result], api_name="generate", concurrency_limit=None
            )
            text, voice1, voice2 = (gr.Textbox("", label=name) for name in ("text", "voice1", "voice2"))
            language, speed = gr.Textbox("a", label="language"), parts.Number(1.0, label="speed")
            sound, spoken = gr.File(label="sound"), gr.JSON(label="spoken")
            gr.Button().click(
                self.speak, [text, voice1, voice2, language, speed], [sound, spoken], api_name="speak"
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
        loras: list[str] | None = None,
    ) -> AsyncIterator[tuple[str | None, dict[str, Any]]]:
        """Generate a video.

        Args:
            request: Gradio's request.
            image: The image.
            audio1: Person 1's audio (an audio file, or a video file with audio), or None.
            audio2: Person 2's audio, or None.
            speech: Text to speech instead, as in a request: a text, or {"text": ..., "voices": ...}.
            turns: "together" or "in_order".
            boxes: {"person1": [x0, y0, x1, y1], ...} in pixels of the image; None: halves.
            prompt: Description of the video; empty: a neutral sentence.
            preset: Name of a preset; empty: the default of the weights.
            size: "480p", "720p", ...; empty: the preset's.
            seed: Seed; -1 draws one.
            settings: Other fields of a request, by field or common name; no paths. ``lora`` has names of
                uploaded LoRAs and of those in the weights' ``loras/``.
            loras: Uploaded LoRAs; those that ``settings`` does not name have the scale 1.

        Yields:
            A finished clip's file, at the end the whole video's, or None; and the job's state. Canceling the
            call cancels the job.
        """
        arguments = {"turns": turns, "boxes": boxes, "prompt": prompt, "preset": preset, "size": size}
        arguments |= {"speech": speech, "seed": seed}
        sounds = {person: path for person, path in zip(PAIR, (audio1, audio2), strict=True) if path}
        refusal = None
        try:
            job = await self._submit(request, image, sounds, arguments, settings, loras or [])
        except MultiTalkError as error:
            refusal = hide_folders(str(error), [image, *sounds.values(), *(loras or [])])
        if refusal is not None:  # raised here, so that it does not reference the first error and its frames
            raise gr.Error(refusal, print_exception=False)
        try:
            async for update in self._follow(job, request):
                yield update
        finally:
            self.backend.queue.cancel(job)  # no effect on a finished job

    async def _submit(
        self,
        request: gr.Request,
        image: str | None,
        sounds: dict[str, str],
        arguments: dict[str, Any],
        settings: Any,
        loras: list[str],
    ) -> Job:
        self.backend.check_access([image, *sounds.values(), *loras], request)
        for path in loras:
            await asyncio.to_thread(self.backend.worker.check_lora, path)
        settings = with_uploaded_loras(settings, loras)
        find_lora = partial(find_uploaded, loras, self.backend.worker.lora_file)
        job_request = await in_stoppable_thread(
            request_from_call, image, sounds, arguments, settings, find_lora
        )
        await asyncio.to_thread(self.backend.check_speech, job_request)
        title = job_request.speech.text if job_request.speech is not None else "video"
        # not kept: a restart ends the call that waits for the video
        return self.backend.queue.submit(job_request, title, owner_of(request), keep=False)

    async def _follow(
        self, job: Job, request: gr.Request
    ) -> AsyncIterator[tuple[str | None, dict[str, Any]]]:
        last: dict[str, Any] | None = None
        sent, over = 0, False
        while not over:
            over = job.is_over  # read before the clips: afterwards none are added
            state = self._state(job)
            clips = job.clips[sent:]
            for clip in clips:
                sent += 1
                # the job may be done already, but its video has not been sent
                yield self.backend.share(clip, request), state | {"status": "running", "clips_done": sent}
            if not (over or clips) and state != last:
                yield None, state
            last = state
            if not over:
                await asyncio.sleep(POLL_SECONDS)
        path = None if job.result is None else self.backend.gallery.path(job.result)
        if path is None:
            raise gr.Error(job.error or "The job was canceled.", print_exception=False)
        result = self.backend.gallery.result(path.name)
        yield (
            self.backend.share(path, request),
            {
                "status": job.status,
                "name": path.name,
                "settings": settings_without_paths(result.settings) if result else {},
                "seconds": result.seconds if result else None,
                "warnings": list(job.warnings),
                "marks": list(job.marks),
                "signed_by": job.signed_by,
                "watermark": job.watermark,
            },
        )

    def _state(self, job: Job) -> dict[str, Any]:
        state: dict[str, Any] = {
            "status": job.status,
            "waiting_for": self.backend.queue.place(job),
            "clips_done": len(job.clips),
        }
        if (progress := job.progress) is not None:
            state |= {name: getattr(progress, name) for name in ("clip", "clips", "step", "steps")}
            state["stage"] = STAGES.get(progress.stage, progress.stage)
            state["fraction"] = round(progress.fraction, 3)
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
        """Convert text to speech.

        Args:
            request: Gradio's request.
            text: The text; ``(s1) ... (s2) ...`` for two people.
            voice1: Person 1's voice; empty: the engine's choice.
            voice2: Person 2's voice.
            language: The engine's language code, such as "a" for American English.
            speed: Speaking speed; 1 is the voice's default.

        Returns:
            A WAV file, and a report with the text and the time of each turn.
        """
        voices = {person: voice for person, voice in zip(PAIR, (voice1, voice2), strict=True) if voice}
        refusal = None
        try:
            speech = Speech.checked({"text": text, "voices": voices, "language": language, "speed": speed})
            spoken = self.backend.synthesize(speech)
        except MultiTalkError as error:
            refusal = str(error)
        if refusal is not None:
            raise gr.Error(refusal, print_exception=False)
        sound = soundtrack(list(spoken.tracks.values()))
        return self.backend.save_sound(sound, "speech.wav", request), asdict(spoken.report)

    def detect_people(self, image: str | None, request: gr.Request) -> dict[str, Any]:
        """Find two people in an image.

        Args:
            image: The image.
            request: Gradio's request.

        Returns:
            A request's ``boxes``, the number of faces found, and the image's size.
        """
        refusal = None
        try:
            self.backend.check_access([image], request)
            picture = read_picture(image)
        except MultiTalkError as error:
            refusal = hide_folders(str(error), [image])
        if refusal is not None:
            raise gr.Error(refusal, print_exception=False)
        people = find_people(picture)
        return {
            "boxes": people.boxes_of(2),
            "faces": len(people.faces),
            "width": picture.width,
            "height": picture.height,
        }
