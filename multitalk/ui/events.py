"""What happens when people use the page."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr

from ..errors import InvalidInput, MultiTalkError
from ..media.mix import soundtrack
from ..media.picture import read_picture
from ..media.sound import read_sound
from . import fields, options, parts
from .access import browser_of
from .backend import Backend, length_of
from .examples import FIELDS as EXAMPLE_FIELDS
from .examples import example_values
from .gallery import read_result
from .layout import ERRORS, Layout
from .people_editor import picture_parts, without_picture
from .restore import RESTORED, restored_values
from .routes import describe_result
from .settings import PRESET_FIELDS, changed_shift, completed, preset_values, proposals
from .voices import VOICE_PARTS, voice_names, voice_parts

QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


class Events:
    """Connects the page's components with what is behind them.

    Args:
        layout: The components.
        backend: Does the work.
    """

    def __init__(self, layout: Layout, backend: Backend) -> None:
        self.layout, self.backend = layout, backend
        self.names = list(layout.form)
        self.inputs = list(layout.form.values())
        self.errors = [layout.errors[place] for place in ERRORS]

    def connect(self, page: gr.Blocks) -> None:
        """Register every event; called inside the page."""
        form, more = self.layout.form, self.layout.more
        self._connect_inputs()
        self._connect_estimates()
        make = more["make"].click(self.start, self.inputs, [more["job"], *self.errors], **QUIET)
        make.then(None, js=parts.asset("show_error.js"), **QUIET)
        more["hear"].click(
            self.hear,
            self.inputs,
            [more["heard"], *self.errors],
            show_progress="minimal",
            api_visibility="private",
        )
        more["dice"].click(lambda: random.randrange(2**31), None, form["seed"], **QUIET)
        more["job"].change(self.show_gallery, None, more["gallery"], **QUIET)
        more["gallery"].select(self.show_result, None, more["job"], **QUIET)
        restored = [form[name] for name in RESTORED] + [more["restored"], more["restored_boxes"]]
        more["job"].select(self.reuse, None, restored, **QUIET).then(*self._refresh(), **QUIET)
        more["restore"].upload(self.restore, more["restore"], [more["restore"], *restored], **QUIET).then(
            *self._refresh(), **QUIET
        )
        page.load(self.open, None, [more["job"], more["gallery"]], **QUIET)

    def _connect_inputs(self) -> None:
        form, more, errors = self.layout.form, self.layout.more, self.layout.errors
        seen = [form["picture"], form["mode"], more["restored_boxes"]]
        shown = [form["picture"], form["boxes"], errors["picture"], more["size"]]
        taken = gr.on(
            [form["picture"].change, form["mode"].change, more["restored_boxes"].change],
            self.take_picture,
            seen,
            shown,
            trigger_mode="always_last",  # an answer about an earlier picture must not come last
            **QUIET,
        )
        taken.then(*self._refresh(), **QUIET)
        form["boxes"].clear(lambda: gr.update(value=None, visible=True), None, form["picture"], **QUIET)
        gr.on(
            [form["mode"].change, form["person1_source"].change, form["person2_source"].change],
            self.show_voices,
            [form["mode"], form["person1_source"], form["person2_source"]],
            [more[name] for name in VOICE_PARTS],
            **QUIET,
        )
        for person in fields.PEOPLE:
            sound, track = form[f"{person}_sound"], more[f"{person}_track"]
            heard = gr.on(
                [sound.change, sound.upload, sound.stop_recording],
                getattr(self, f"take_sound_of_{person}"),
                sound,
                errors[person],
                trigger_mode="multiple",
                **QUIET,
            )
            heard.then(*self._refresh(), **QUIET)
            track.upload(self.take_track, track, [sound, errors[person]], **QUIET)
        if "examples" in more:
            targets = [form[name] for name in EXAMPLE_FIELDS]
            filled = more["examples"].select(self.use_example, None, targets, **QUIET)
            filled.then(*self._refresh(), **QUIET)
        form["size"].change(
            lambda size: gr.update(visible=True if size == options.OWN_SIZE else "hidden"),
            form["size"],
            more["own_size"],
            **QUIET,
        )

    def _connect_estimates(self) -> None:
        form, more = self.layout.form, self.layout.more
        known, proposed = [more["size"], *self.inputs], more["proposed"]
        sizes = [form[name].input for name in ("size", "height", "width")]
        ready = [proposed, form["preset"], *(form[name] for name in SPEECH_CHOICES)]
        changed = [
            form["preset"].input(self.show_preset_values, known, proposed, **QUIET),
            gr.on(sizes, self.show_shift, known, proposed, trigger_mode="always_last", **QUIET),
            more["status"].change(self.when_ready, known, ready, **QUIET),
        ]
        values = [form[name] for name in PRESET_FIELDS]
        take = parts.asset("take_proposed.js")
        taken = [answer.then(None, [proposed, *values], values, js=take, **QUIET) for answer in changed]
        taken[-1].then(*self._refresh(), **QUIET)  # the others' fields refresh it by their changes
        changing = ["mode", "script", "size", "height", "width", "preset", "steps", "text_guidance"]
        changing += ["audio_guidance", "frames_per_clip", "motion_frames", "max_seconds", "speed"]
        changing += [f"{person}_{name}" for person in fields.PEOPLE for name in ("source", "text", "voice")]
        triggers = [form[name].change for name in changing]
        gr.on(triggers, *self._refresh(), trigger_mode="always_last", **QUIET)

    def _refresh(self) -> tuple[Any, list[Any], list[Any]]:
        more, form = self.layout.more, self.layout.form
        return self.refresh, [more["size"], *self.inputs], [form["preset"], form["boxes"]]

    def _named(self, values: tuple[Any, ...]) -> dict[str, Any]:
        return dict(zip(self.names, values, strict=True))

    def _form(self, values: tuple[Any, ...], request: gr.Request) -> dict[str, Any]:
        form = self._named(values)
        self.backend.own([form["picture"], form["person1_sound"], form["person2_sound"]], request)
        return form

    def _say_errors(self, error: MultiTalkError | None, form: dict[str, Any]) -> list[str]:
        """Every place's content: the error in its own, nothing in the others."""
        place = fields.place_of(error, form) if isinstance(error, InvalidInput) else "settings"
        shown = None if error is None else str(fields.readable(error, form))
        return [parts.say_error(shown if name == place else None) for name in ERRORS]

    def start(self, request: gr.Request, *values: Any) -> list[Any]:
        """The button: check everything, then queue the job."""
        form = self._named(values)
        try:
            form = self._form(values, request)
            if self.backend.worker.failure is not None:
                raise MultiTalkError(self.backend.worker.status[1])
            job_request = fields.build_request(form, self.backend.say)
            title, said = fields.title_of(form), fields.said_apart(form)
            job = self.backend.queue.submit(job_request, title, browser_of(request), said)
        except MultiTalkError as error:
            return [gr.skip(), *self._say_errors(error, form)]
        return [{"job": job.id}, *self._say_errors(None, form)]

    def hear(self, request: gr.Request, *values: Any) -> list[Any]:
        """Speak the words of the form."""
        form = self._named(values)
        try:
            text, who = fields.words_of(form)
            spoken = self.backend.say(fields.speech_for(form, text, who))
        except MultiTalkError as error:
            return [gr.update(value=None, visible="hidden"), *self._say_errors(error, form)]
        path = self.backend.save_sound(soundtrack(list(spoken.tracks.values())), "words.wav", request)
        return [gr.update(value=path, visible=True), *self._say_errors(None, form)]

    def take_picture(self, path: str | None, mode: str, restored: Any, request: gr.Request) -> list[Any]:
        """Check a picture, and show it, or two people's boxes in it."""
        if not path:
            return [*without_picture(), "", None]
        try:
            self.backend.own([path], request)
            picture = read_picture(path)
        except InvalidInput as error:
            sentence = str(fields.readable(error, {"picture": path}))
            return [*without_picture(), parts.say_error(sentence), None]
        return [*picture_parts(path, picture, mode, restored), "", picture.size]

    def take_sound_of_person1(self, path: str | None, request: gr.Request) -> str:
        """Check person 1's sound."""
        return self._take_sound(path, "audio.person1", request)

    def take_sound_of_person2(self, path: str | None, request: gr.Request) -> str:
        """Check person 2's sound."""
        return self._take_sound(path, "audio.person2", request)

    def _take_sound(self, path: str | None, field: str, request: gr.Request) -> str:
        try:
            self.backend.own([path], request)
            if path:
                read_sound(path, field)
        except InvalidInput as error:
            return parts.say_error(str(fields.readable(error, {"sound": path})))
        return ""

    def take_track(self, path: str, request: gr.Request) -> list[Any]:
        """Use a video's sound track."""
        try:
            self.backend.own([path], request)
            sound = read_sound(path, "The video's sound")
        except InvalidInput as error:
            return [gr.skip(), parts.say_error(str(fields.readable(error, {"sound": path})))]
        return [self.backend.save_sound(sound, "sound track.wav", request), ""]

    def show_voices(self, mode: str, source1: str, source2: str) -> list[Any]:
        """Show what applies to who speaks, and how."""
        return [gr.update(**state) for state in voice_parts(mode, source1, source2).values()]

    def use_example(self, event: gr.EventData, request: gr.Request) -> list[Any]:
        """Fill the form with an example."""
        values = example_values(event.name)
        for name in ("picture", "person1_sound", "person2_sound"):
            if values[name]:
                values[name] = self.backend.share(values[name], request)
        return [values[name] for name in EXAMPLE_FIELDS]

    def show_preset_values(self, size: Any, *values: Any) -> list[Any]:
        """A preset's settings, for their fields."""
        form = self._named(values)
        settings = preset_values(self.backend.worker, form, size)
        return proposals(form, {name: settings.get(name) for name in PRESET_FIELDS})

    def show_shift(self, size: Any, *values: Any) -> list[Any]:
        """What another size changes of a preset's settings."""
        form = self._named(values)
        shift = changed_shift(self.backend.worker, form, size)
        return proposals(form, {} if shift is None else {"shift": shift})

    def when_ready(self, size: Any, *values: Any) -> list[Any]:
        """Offer what the loaded weights have; what was filled in meanwhile stays."""
        form = self._named(values)
        worker = self.backend.worker
        presets = worker.presets()
        if not presets:
            return [[], *[gr.skip()] * (1 + len(SPEECH_CHOICES))]
        if form["preset"] not in [preset.name for preset in presets]:  # none, or one of other weights
            form["preset"] = presets[0].name
        engine = worker.speech_engine()
        voices = gr.update(choices=options.voice_choices(engine))
        languages = gr.update(choices=options.language_choices(engine))
        preset = gr.update(choices=options.preset_choices(presets, {}), value=form["preset"])
        return [
            proposals(form, completed(worker, form, size)),
            preset,
            *(voices, languages, voices, languages),
        ]

    def refresh(self, request: gr.Request, size: Any, *values: Any) -> list[Any]:
        """The time each preset takes for what is filled in, and the voices' names at the boxes."""
        form = self._named(values)
        presets = self.backend.worker.presets()
        choices: Any = gr.skip()
        if presets:
            sounds = {person: form[f"{person}_sound"] for person in fields.PEOPLE}
            try:
                self.backend.own(list(sounds.values()), request)
                seconds = {person: length_of(path) for person, path in sounds.items()}
            except InvalidInput:  # said beside the sound
                seconds = {}
            times = self.backend.times(form, tuple(size), seconds) if size else {}
            choices = gr.update(choices=options.preset_choices(presets, times))
        return [choices, gr.update(voices=voice_names(form))]

    def show_gallery(self) -> list[dict[str, Any]]:
        """The newest results."""
        return [describe_result(result) for result in self.backend.gallery.results()]

    def show_result(self, event: gr.EventData) -> Any:
        """Show a result of the gallery in the player."""
        result = self.backend.gallery.result(str(event.name))
        # one that is asked for again is shown again
        return gr.skip() if result is None else {"result": describe_result(result), "asked": uuid4().hex}

    def reuse(self, event: gr.EventData) -> list[Any]:
        """Use a result's settings again."""
        result = self.backend.gallery.result(str(event.name))
        return restored_values(None if result is None else result.settings, self.backend.worker)

    def restore(self, path: str, request: gr.Request) -> list[Any]:
        """Use the settings of a video that was dropped on the page."""
        try:
            self.backend.own([path], request)
            settings: dict[str, Any] | None = read_result(Path(path)).settings
        except InvalidInput:
            settings = None
        return [None, *restored_values(settings, self.backend.worker)]

    def open(self, request: gr.Request) -> list[Any]:
        """A browser opens the page: show what it has asked for before, and the results."""
        job = self.backend.queue.latest(browser_of(request))
        return [{"job": job.id} if job is not None else {}, self.show_gallery()]


SPEECH_CHOICES = ("person1_voice", "person1_language", "person2_voice", "person2_language")
