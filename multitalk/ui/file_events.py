"""Handlers of files for the whole form: finished videos whose settings are restored, and dropped files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import MultiTalkError
from ..media.sound_reading import read_sound
from . import drops, form_errors, parts
from .backend import Backend
from .dubbing import check_can_dub, save_first_frame
from .file_origin import read_facts
from .layout import Layout
from .parts import EVERY, QUIET
from .restore import NOTHING, RESTORED, restored_values

FILE = re.compile(r"^(The )?[Ff]ile( \([^)]*\))?")  # in errors, where the page names the file
GONE = "The video was deleted."


class FileEvents:
    """The handlers.

    Args:
        layout: The components.
        backend: Models, and access to the uploaded files.
    """

    def __init__(self, layout: Layout, backend: Backend) -> None:
        self.layout, self.backend = layout, backend

    def connect(self, refresh: tuple[Any, list[Any], list[Any]]) -> None:
        """Register the handlers; call inside the page.

        Args:
            refresh: Handler, inputs and outputs that update what depends on the form.
        """
        form, more = self.layout.form, self.layout.more
        told = [more["restored_boxes"], more["restored"], more["restored_file"]]
        restored = [*(form[name] for name in RESTORED), *told]
        files = [form[name] for name in drops.FILES]
        taken = [more["drops"], more["dubbing"], *(form[name] for name in drops.FIELDS)]
        dropped = more["drops"].apply(self.restore_dropped, files, [more["drops"], *restored], **EVERY)
        dropped.then(None, js=parts.asset("show_restored.js"), **QUIET)
        uploaded = [more["restore"], *restored]
        for event in (
            more["restore"].upload(self.restore, [more["restore"], *files], uploaded, **EVERY),
            dropped,
            more["job"].select(self.reuse, files, restored, **EVERY),
            more["drops"].upload(self.take_files, form["mode"], taken, **EVERY),
        ):
            event.then(*refresh, **QUIET)

    def restore(self, path: str, request: gr.Request, *files: str | None) -> list[Any]:
        """Restore the settings of a video that was uploaded for that; the message is below the field."""
        *values, message = self._restored(path, files, request)
        return [None, *values, "", message]

    def restore_dropped(self, event: gr.EventData, request: gr.Request, *files: str | None) -> list[Any]:
        """Restore the settings of a video that was dropped on the page; the message is beside the form."""
        uploaded = drops.notice("", event._data.get("drop"))  # the message about the upload ends
        return [uploaded, *self._restored(str(event.path), files, request), ""]

    def reuse(self, event: gr.EventData, request: gr.Request, *files: str | None) -> list[Any]:
        """Restore the settings of a result; the message is beside the form."""
        result = self.backend.visible(request).result(str(event.name))
        if result is None:
            return [*NOTHING, parts.show_error(GONE), ""]
        path = self.backend.gallery.folder / result.name
        return [*self._restored_from(path, f"“{result.title}”", files), ""]

    def _restored(self, path: str, files: Sequence[str | None], request: gr.Request) -> list[Any]:
        """Return the restored values of an uploaded file, the boxes, and the message."""
        try:
            self.backend.check_access([path], request)
        except MultiTalkError as error:
            return [*NOTHING, parts.show_error(form_errors.page_message(error, {"file": path}))]
        return self._restored_from(Path(path), Path(path).name, files)

    def _restored_from(self, path: Path, name: str, files: Sequence[str | None]) -> list[Any]:
        try:
            facts = read_facts(path, name)
        except MultiTalkError as error:
            reason = form_errors.page_message(error, {"file": str(path)})
            return [*NOTHING, parts.show_error(FILE.sub(lambda _: name, reason))]
        return restored_values(facts, self.backend.worker, drops.filled(files))

    def take_files(self, mode: str, event: gr.EventData, request: gr.Request) -> list[Any]:
        """Fill in the fields of files that were dropped on the page."""

        def sound_of(path: str) -> str:
            self.backend.check_access([path], request)
            return self.backend.save_sound(read_sound(path, "audio"), "audio.wav", request)

        def first_frame(path: str) -> str:
            check_can_dub(self.backend)
            return save_first_frame(self.backend, path, request)

        on_picture = event._data.get("place") == drops.PICTURE
        try:
            values, message = drops.dropped_values(
                event.files, event.person, mode, sound_of, first_frame if on_picture else None
            )
            self.backend.check_access([values.get(name) for name in ("video", *drops.FILES)], request)
        except MultiTalkError as error:
            paths = {file["path"]: file["path"] for file in drops.checked_files(event.files)}
            values, message = {}, form_errors.page_message(error, paths)
        return [
            drops.notice(message, event._data.get("drop")),
            gr.update(open=True) if values.get("video") else gr.skip(),
            *(values.get(name, gr.skip()) for name in drops.FIELDS),
        ]
