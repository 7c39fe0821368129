"""The page's event handlers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr

from ..errors import MultiTalkError
from ..media.picture import read_picture
from . import demo_notice, drops, fields, long_jobs, options, parts
from .backend import Backend, length_of
from .box_editor import picture_parts, without_picture
from .continuing import ContinuingEvents
from .dubbing import DubbingEvents
from .examples import example_values, reset_labels
from .file_events import FileEvents
from .form_errors import PLACES, error_places, page_message
from .job_owner import owner_of
from .kept_form import KEPT_JOB, KeptFormEvents, kept_job
from .layout import Layout
from .loras import lora_paths
from .parts import EVERY, QUIET
from .preset_fields import PRESET_FIELDS, changed_shift, missing_values, preset_values, proposals
from .routes import describe_result
from .shown_pictures import is_shown_as_in_video
from .speech_choices import language_choices, voice_choices, voice_hint
from .video_settings import SettingsEvents
from .voice_events import VoiceEvents
from .voices import voice_names


class Events:
    """The handlers, and the components that trigger and show them.

    Args:
        layout: The components.
        backend: Queue, models and results.
    """

    def __init__(self, layout: Layout, backend: Backend) -> None:
        self.layout, self.backend = layout, backend
        self.names = list(layout.form)
        self.inputs = list(layout.form.values())
        self.errors = [layout.errors[place] for place in PLACES]

    def connect(self, page: gr.Blocks) -> None:
        """Register the handlers; call inside the page."""
        form, more = self.layout.form, self.layout.more
        voices = VoiceEvents(self.layout, self.backend)
        voices.connect_preview()
        self._connect_inputs()
        self._connect_estimates()
        demo_notice.connect(self.layout, self.backend)
        told = [more["restored"], more["restored_file"]]
        answer = [more["job"], more["make"], more["question"], *told, *self.errors]
        make = more["make"].submit(self.start, self.inputs, answer, **QUIET)
        make.then(None, js=parts.asset("show_error.js"), **QUIET)
        more["dice"].click(lambda: random.randrange(2**31), None, form["seed"], **QUIET)
        more["job"].change(self.show_gallery, None, more["gallery"], **QUIET)
        more["gallery"].select(self.show_result, None, more["job"], **QUIET)
        opened = [more["job"], more["gallery"]]
        page.load(self.open, more["kept_job"], opened, js=KEPT_JOB, **QUIET)
        KeptFormEvents(self.layout, self.backend).connect(page)
        FileEvents(self.layout, self.backend).connect(self._refresh())
        voices.connect(self._refresh())
        DubbingEvents(self.layout, self.backend).connect()
        ContinuingEvents(self.layout, self.backend).connect()
        SettingsEvents(self.layout, self.backend).connect()

    def _connect_inputs(self) -> None:
        form, more, errors = self.layout.form, self.layout.more, self.layout.errors
        inputs = [form["picture"], form["mode"], form["script"], more["restored_boxes"]]
        outputs = [form["picture"], form["boxes"], errors["picture"], more["size"]]
        shown = gr.on(
            [form["picture"].change, form["mode"].change, more["restored_boxes"].change],
            self.show_picture,
            inputs,
            outputs,
            trigger_mode="always_last",  # the response for an earlier image must not arrive last
            **QUIET,
        )
        shown.then(*self._refresh(), **QUIET)
        form["boxes"].clear(lambda: gr.update(value=None, visible=True), None, form["picture"], **QUIET)
        if "examples" in more:
            told = [more["restored"], more["restored_file"]]
            targets = [*self.inputs, more["restored_boxes"], more["drops"], *told]
            filled = more["examples"].select(self.use_example, self.inputs, targets, **EVERY)
            filled.then(*self._refresh(), **QUIET)
        form["size"].change(
            lambda size: gr.update(visible=True if size == options.CUSTOM_SIZE else "hidden"),
            form["size"],
            more["custom_size"],
            **QUIET,
        )
        form["cache"].change(
            lambda cache: gr.update(
                visible="hidden" if cache in (options.NO_CACHE, options.TAYLORSEER) else True
            ),
            form["cache"],
            form["threshold"],
            **QUIET,
        )

    def _connect_estimates(self) -> None:
        form, more = self.layout.form, self.layout.more
        inputs, proposed = [more["size"], *self.inputs], more["proposed"]
        sizes = [form[name].input for name in ("size", "height", "width")]
        ready = [proposed, form["preset"], *(form[name] for name in SPEECH_CHOICES)]
        changed = [
            form["preset"].input(self.show_preset_values, inputs, proposed, **EVERY),
            gr.on(sizes, self.show_shift, inputs, proposed, trigger_mode="always_last", **QUIET),
            more["status"].change(self.show_models, inputs, ready, **QUIET),
        ]
        values = [form[name] for name in PRESET_FIELDS]
        apply = parts.asset("apply_proposals.js")
        applied = [event.then(None, [proposed, *values], values, js=apply, **QUIET) for event in changed]
        applied[-1].then(*self._refresh(), **QUIET)  # the others refresh through the fields they change
        changing = ["mode", "script", "size", "height", "width", "preset", "steps", "text_guidance"]
        changing += [
            "audio_guidance",
            "frames_per_clip",
            "motion_frames",
            "model",
            "max_seconds",
            "speed",
            "cache",
            "threshold",
            "vae",
            "preview",
        ]
        changing += [*fields.each("source", "text"), *fields.each("voice", people=fields.PEOPLE)]
        triggers = [form[name].change for name in changing]
        gr.on(triggers, *self._refresh(), trigger_mode="always_last", **QUIET)

    def _refresh(self) -> tuple[Any, list[Any], list[Any]]:
        more, form = self.layout.more, self.layout.form
        return self.refresh, [more["size"], *self.inputs], [form["preset"], form["boxes"], more["speakers"]]

    def _named(self, values: tuple[Any, ...]) -> dict[str, Any]:
        return dict(zip(self.names, values, strict=True))

    def _form(self, values: tuple[Any, ...], request: gr.Request) -> dict[str, Any]:
        form = self._named(values)
        files = [form[name] for name in ("picture", "video", "continue_from", *drops.FILES[1:])]
        self.backend.check_access([*files, *lora_paths(form["loras"])], request)
        return form

    def start(self, event: gr.EventData, request: gr.Request, *values: Any) -> list[Any]:
        """Check the form and add a job to the queue, or ask before a long one."""
        form = self._named(values)
        answer: dict[str, Any] = {"job": None, "id": uuid4().hex}
        try:
            form = self._form(values, request)
            worker = self.backend.worker
            if worker.failure is not None:
                raise MultiTalkError(worker.status[1])
            choice = long_jobs.read_choice(event._data, worker)
            form |= choice.changes
            job_request = fields.request_from_form(form, self.backend.synthesize, worker.lora_file)
            self.backend.check_speech(job_request)
            worker.check_model(job_request)
            for path in lora_paths(form["loras"]):
                worker.check_lora(path)
            question = long_jobs.question(worker, job_request, self.backend.ask_above)
            if question is not None and not choice.is_made:
                return [gr.skip(), answer, question, *[gr.skip()] * 2, *error_places(None, form)]
            title, scripts = fields.title_of(form), fields.separate_scripts(form)
            job = self.backend.queue.submit(job_request, title, owner_of(request), scripts)
            job.notice = demo_notice.result_line(worker, form["picture"])
            job.source = form["video"] or ""
        except MultiTalkError as error:
            return [gr.skip(), answer, *[gr.skip()] * 3, *error_places(error, form)]
        return [{"job": job.id}, answer | {"job": job.id}, {}, "", "", *error_places(None, form)]

    def show_picture(
        self, path: str | None, mode: str, script: str, restored: Any, request: gr.Request
    ) -> list[Any]:
        """Check an image, and show it or, if there is a choice of people, the editor of their boxes."""
        if not path:
            return [*without_picture(), "", None]
        try:
            self.backend.check_access([path], request)
            picture = read_picture(path)
        except MultiTalkError as error:
            message = page_message(error, {"picture": path})
            return [*without_picture(), parts.show_error(message), None]
        speakers = len(fields.speakers({"mode": mode, "script": script}))
        if is_shown_as_in_video(path):
            return [*picture_parts(path, picture, speakers, restored), "", picture.size]
        path = self.backend.save_picture(picture, f"{Path(path).stem}.png", request)
        field, editor = picture_parts(path, picture, speakers, restored)
        return [field | {"value": path}, editor, "", picture.size]

    def use_example(self, event: gr.EventData, request: gr.Request, *values: Any) -> list[Any]:
        """Fill the form with an example: all other fields get their initial values."""
        worker, example = self.backend.worker, example_values(event.name)
        filled = {name: component.value for name, component in self.layout.form.items()} | example
        if worker.presets():
            filled["preset"] = long_jobs.suggested_preset(worker)
            filled |= preset_values(worker, filled, read_picture(filled["picture"]).size)
        for name in ("picture", "person1_sound", "person2_sound"):
            if filled[name]:
                filled[name] = self.backend.share(filled[name], request)
        filled = {name: filled[name] for name in self.names}
        labels = {name: component.label or LORAS for name, component in self.layout.form.items()}
        reset = reset_labels(self._named(values) | {"boxes": None}, filled, labels)
        message = f"Example: {event.name}. Reset: {', '.join(reset)}." if reset else ""
        return [*filled.values(), None, drops.notice(message), "", ""]

    def show_preset_values(self, size: Any, *values: Any) -> list[Any]:
        """Propose the preset's values."""
        form = self._named(values)
        settings = preset_values(self.backend.worker, form, size)
        return proposals(form, {name: settings.get(name) for name in PRESET_FIELDS})

    def show_shift(self, size: Any, *values: Any) -> list[Any]:
        """Propose the preset's shift for another size."""
        form = self._named(values)
        shift = changed_shift(self.backend.worker, form, size)
        return proposals(form, {} if shift is None else {"shift": shift})

    def show_models(self, size: Any, *values: Any) -> list[Any]:
        """Show the presets and voices of the loaded weights; values that the user has set are kept."""
        form = self._named(values)
        worker = self.backend.worker
        presets = worker.presets()
        if not presets:
            return [[], *[gr.skip()] * (1 + len(SPEECH_CHOICES))]
        if form["preset"] not in [preset.name for preset in presets]:  # none, or of other weights
            form["preset"] = long_jobs.suggested_preset(worker)
        engine = worker.speech_engine()
        voices = gr.update(choices=voice_choices(engine), info=voice_hint(engine))
        languages = gr.update(choices=language_choices(engine))
        preset = gr.update(choices=options.preset_choices(presets, {}), value=form["preset"])
        return [
            proposals(form, missing_values(worker, form, size)),
            preset,
            *(voices, languages) * len(fields.PEOPLE),
        ]

    def refresh(self, request: gr.Request, size: Any, *values: Any) -> list[Any]:
        """Update the presets' estimated times, the speakers, and the names of the voices at the boxes."""
        form = self._named(values)
        presets = self.backend.worker.presets()
        choices: Any = gr.skip()
        # without the size of an image, the call is older than the image; its answer may come last
        if presets and (size or not form["picture"]):
            sounds = {person: form[f"{person}_sound"] for person in fields.PAIR}
            try:
                self.backend.check_access([*sounds.values(), form.get("continue_from")], request)
                seconds = {person: length_of(path) for person, path in sounds.items()}
            except MultiTalkError:  # shown beside the file
                seconds, form["continue_from"] = {}, None
            times = self.backend.times(form, tuple(size), seconds) if size else {}
            choices = gr.update(choices=options.preset_choices(presets, times))
        speakers = len(fields.speakers(form))
        return [choices, gr.update(voices=voice_names(form), speakers=speakers), speakers]

    def show_gallery(self) -> str:
        """Return a new value, for which the page's script reads the results again."""
        return uuid4().hex

    def show_result(self, event: gr.EventData, request: gr.Request) -> Any:
        """Show a result of the gallery in the player."""
        visible = self.backend.visible(request)
        result = visible.result(str(event.name))
        if result is None:
            return gr.skip()
        has_source = visible.source(result.name) is not None
        # the id makes the value change if the same result is selected again
        return {"result": describe_result(result, has_source=has_source), "id": uuid4().hex}

    def open(self, kept: Any, request: gr.Request) -> list[Any]:
        """Show the browser's latest job and the results when the page opens.

        Args:
            kept: Id of the unfinished job that the browser knows: if the server does not, the page says so.
            request: Gradio's request.
        """
        job = self.backend.queue.latest(owner_of(request))
        shown = kept_job(kept) if job is None else job.id
        return [{"job": shown} if shown else {}, self.show_gallery()]


LORAS = "LoRAs"
SPEECH_CHOICES = fields.each("voice", "language", people=fields.PEOPLE)
