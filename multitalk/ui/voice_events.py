"""Handlers of the voices: audio, text to speech, and what the form shows of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from ..errors import MultiTalkError
from ..media.mix import soundtrack
from ..media.sound_reading import read_length, read_sound
from . import fields, parts
from .backend import Backend
from .form_errors import PLACES, error_places, page_message, with_labels
from .layout import Layout
from .parts import QUIET
from .voices import VOICE_PARTS, voice_parts

# What is heard depends on these fields; a preview of other words would be wrong.
HEARD = ("mode", "script", "speed", "pause", *fields.each("source", "text"))
HEARD += fields.each("voice", "language", people=fields.PEOPLE)
# A change may be noticed after the words it made were asked for: it forgets other words only.
ASK = """(...form) => {
  window.multitalkHeard = JSON.stringify(%s.map((index) => form[index]));
  return form;
}"""
FORGET = """(...words) => {
  if (JSON.stringify(words) === window.multitalkHeard) return [{ __type__: 'update' }];
  return [{ __type__: 'update', value: null, visible: 'hidden' }];
}"""


class VoiceEvents:
    """The handlers.

    Args:
        layout: The components.
        backend: Speech engine, and access to the uploaded files.
    """

    def __init__(self, layout: Layout, backend: Backend) -> None:
        self.layout, self.backend = layout, backend

    def connect_preview(self) -> None:
        """Register the handlers of the spoken preview; call inside the page, before all others.

        The page runs a field's handlers one after another, in the order in which they were registered: a
        change hides the preview first.
        """
        form, more, errors = self.layout.form, self.layout.more, self.layout.errors
        names = list(form)
        heard = more["hear"].click(
            self.hear,
            list(form.values()),
            [more["heard"], *(errors[place] for place in PLACES)],
            js=ASK % [names.index(name) for name in HEARD],
            trigger_mode="always_last",  # the words may change before the answer
            show_progress="minimal",
            api_visibility="private",
        )
        words = [form[name] for name in HEARD]
        gr.on([word.change for word in words], None, words, more["heard"], js=FORGET, **QUIET)
        heard.then(None, words, more["heard"], js=FORGET, **QUIET)

    def connect(self, refresh: tuple[Any, list[Any], list[Any]]) -> None:
        """Register the handlers; call inside the page.

        Args:
            refresh: Handler, inputs and outputs that update what depends on the form.
        """
        form, more, errors = self.layout.form, self.layout.more, self.layout.errors
        shown = [form["mode"], form["person1_source"], form["person2_source"], more["speakers"]]
        gr.on(
            [component.change for component in shown],
            self.show_voices,
            shown,
            [{**form, **more}[name] for name in VOICE_PARTS],
            **QUIET,
        )
        for person in fields.PAIR:
            sound, track = form[f"{person}_sound"], more[f"{person}_track"]
            checked = gr.on(
                [sound.change, sound.upload, sound.stop_recording, form["max_seconds"].blur],
                self.sound_check(f"audio.{person}"),
                [sound, form["max_seconds"]],
                errors[person],
                trigger_mode="multiple",
                **QUIET,
            )
            checked.then(*refresh, **QUIET)
            chosen = [track, form["max_seconds"]]
            track.upload(self.use_track, chosen, [sound, errors[person]], **QUIET)

    def show_voices(self, mode: str, source1: str, source2: str, speakers: int) -> list[Any]:
        """Show the fields that apply to the mode and the sources."""
        return [gr.update(**state) for state in voice_parts(mode, source1, source2, speakers).values()]

    def sound_check(self, field: str) -> Callable[..., str]:
        """Return the handler that checks a person's audio, of which the video uses at most `most` seconds."""

        def check(path: str | None, most: float | None, request: gr.Request) -> str:
            try:
                self.backend.check_access([path], request)
                if path:
                    read_length(path, field, most or None)
            except MultiTalkError as error:
                return parts.show_error(page_message(error, {"sound": path}))
            return ""

        return check

    def use_track(self, path: str, most: float | None, request: gr.Request) -> list[Any]:
        """Use a video's audio."""
        try:
            self.backend.check_access([path], request)
            sound = read_sound(path, "audio", most or None)
        except MultiTalkError as error:
            return [gr.skip(), parts.show_error(page_message(error, {"sound": path}))]
        for warning in sound.warnings:  # the result does not repeat it
            gr.Warning(with_labels(warning))
        return [self.backend.save_sound(sound, "audio.wav", request), ""]

    def hear(self, request: gr.Request, *values: Any) -> list[Any]:
        """Play the form's text as speech."""
        form = dict(zip(self.layout.form, values, strict=True))
        try:
            spoken = self.backend.synthesize(fields.speech_of(form, *fields.script_of(form)))
        except MultiTalkError as error:
            return [gr.update(value=None, visible="hidden"), *error_places(error, form)]
        path = self.backend.save_sound(soundtrack(list(spoken.tracks.values())), "speech.wav", request)
        return [gr.update(value=path, visible=True), *error_places(None, form)]
