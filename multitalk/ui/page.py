"""The page: picture, voices or words, one button, a video."""

from __future__ import annotations

import threading
from typing import Any

import gradio as gr
from pydantic import ValidationError

from ..errors import Cancelled, MultiTalkError
from ..presets import PRESETS
from ..progress import Progress
from ..request import DEFAULT_PROMPT, GenerationRequest, describe_error
from .service import GenerationService

TURNS = {"together": "Together", "in_order": "In turns: person 1, then person 2"}
SIZES = ["480p", "720p", "480p-bucket", "720p-bucket"]
STAGES = {
    "speech": "Preparing the voices",
    "text": "Reading the prompt",
    "audio": "Listening",
    "image": "Looking at the picture",
    "encode": "Preparing",
    "denoise": "Sampling",
    "decode": "Decoding",
    "video": "Writing the video",
    "done": "Finishing",
}


def describe_progress(progress: Progress) -> str:
    """One line for the progress bar."""
    text = STAGES.get(progress.stage, progress.stage)
    if progress.clips:
        text += f" · clip {progress.clip + 1} of {progress.clips}"
    if progress.stage == "denoise":
        text += f" · step {progress.step} of {progress.steps}"
    if progress.eta is not None:
        text += f" · {round(progress.eta)} s left"
    return text


class Page:
    """Builds the page and answers its events.

    Args:
        service: Runs the jobs.
    """

    def __init__(self, service: GenerationService) -> None:
        self.service = service
        # a browser's running job, by Gradio's session: cancelling is an event of its own
        self._cancels: dict[str, threading.Event] = {}

    def build(self) -> gr.Blocks:
        """The page as a Gradio app."""
        with gr.Blocks(title="MultiTalk") as page:
            gr.Markdown("# MultiTalk\nA picture and a voice in, a talking video out.")
            status = gr.Markdown(self.service.status)
            timer = gr.Timer(2.0)
            timer.tick(
                self._show_status, outputs=[status, timer], show_progress="hidden", api_visibility="private"
            )
            with gr.Row():
                with gr.Column():
                    inputs = self._build_inputs()
                    with gr.Row():
                        generate = gr.Button("Make the video", variant="primary")
                        cancel = gr.Button("Cancel", variant="stop")
                with gr.Column():
                    video = gr.Video(label="Video", interactive=False)
                    details = gr.Markdown()
            generate.click(
                self.generate,
                inputs=inputs,
                outputs=[video, details],
                api_name="generate",
                concurrency_limit=1,
            )
            cancel.click(self._cancel, queue=False, show_progress="hidden", api_visibility="private")
        return page

    def _build_inputs(self) -> list[gr.components.Component]:
        image = gr.Image(label="Picture", type="filepath", sources=["upload", "webcam", "clipboard"])
        first = gr.Audio(label="Person 1: sound", type="filepath", sources=["upload", "microphone"])
        second = gr.Audio(
            label="Person 2: sound (if two speak)", type="filepath", sources=["upload", "microphone"]
        )
        turns = gr.Radio(
            [(label, value) for value, label in TURNS.items()], value="together", label="Two people speak"
        )
        prompt = gr.Textbox(label="What the video shows", value=DEFAULT_PROMPT, lines=2)
        with gr.Accordion("Settings", open=False):
            presets = [("What the weights are best at", "")]
            presets += [(f"{preset.name}: {preset.description}", preset.name) for preset in PRESETS.values()]
            preset = gr.Dropdown(presets, value="", label="Preset")
            size = gr.Dropdown(SIZES, value="480p", label="Size")
            steps = gr.Number(label="Steps (empty: the preset's)", precision=0, value=None)
            seed = gr.Number(label="Seed (-1 draws one)", precision=0, value=42)
        return [image, first, second, turns, prompt, preset, size, steps, seed]

    def generate(
        self,
        image: str | None,
        sound1: str | None,
        sound2: str | None,
        turns: str,
        prompt: str,
        preset: str,
        size: str,
        steps: int | None,
        seed: int,
        request: gr.Request,
        bar: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio finds the progress bar by this default
    ) -> tuple[str, str]:
        """Make a video.

        Args:
            image: The picture.
            sound1: Person 1's voice.
            sound2: Person 2's voice, or None.
            turns: "together" or "in_order".
            prompt: What the video shows.
            preset: A preset's name; empty for what the weights are best at.
            size: "480p", "720p", "480p-bucket" or "720p-bucket".
            steps: Overrides the preset's.
            seed: Of the random numbers; -1 draws one.

        Returns:
            The mp4 and a line about it.
        """
        audio = {person: sound for person, sound in (("person1", sound1), ("person2", sound2)) if sound}
        job = self._validated(
            image=image,
            audio=audio,
            turns=turns,
            prompt=prompt,
            preset=preset or None,
            size=size,
            steps=steps,
            seed=seed,
        )
        cancel = threading.Event()
        self._cancels[request.session_hash or ""] = cancel
        try:
            result = self.service.generate(
                job, lambda progress: bar(progress.fraction, desc=describe_progress(progress)), cancel
            )
        except Cancelled:
            raise gr.Error("Cancelled.", duration=5, print_exception=False) from None
        except MultiTalkError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from None
        finally:
            self._cancels.pop(request.session_hash or "", None)
        length = f"{result.seconds:.1f} s, {result.frames} frames"
        return str(result.path), f"{length}, seed {result.seed}, made in {result.timings['total']:.0f} s"

    def _validated(self, **fields: Any) -> GenerationRequest:
        if not fields["image"]:
            raise gr.Error("Add a picture of the person who is to speak.", print_exception=False)
        if not fields["audio"]:
            raise gr.Error("Add a sound for person 1.", print_exception=False)
        try:
            return GenerationRequest(**fields)
        except ValidationError as error:
            raise gr.Error(str(describe_error(error)), duration=None, print_exception=False) from None

    def _cancel(self, request: gr.Request) -> None:
        if cancel := self._cancels.get(request.session_hash or ""):
            cancel.set()

    def _show_status(self) -> tuple[str, gr.Timer]:
        return self.service.status, gr.Timer(active=self.service.is_loading)
