"""Handlers of files for the whole form: finished videos whose settings are restored, and dropped files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import MultiTalkError
from ..marks.settings import trusted_certificates
from ..media.inspection import inspect_file
from ..media.sound_reading import read_sound
from . import drops, form_errors, parts
from .backend import Backend
from .dubbing import check_can_dub, save_first_frame
from .gallery import read_result
from .layout import Layout
from .parts import EVERY, QUIET
from .restore import RESTORED, restored_values


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
        restored = [form[name] for name in RESTORED]
        uploaded = [more["restore"], *restored, more["restored_file"], more["restored_boxes"]]
        dropped = [*restored, more["drops"], more["restored_boxes"]]
        files = [form[name] for name in drops.FILES]
        taken = [more["drops"], more["dubbing"], *(form[name] for name in drops.FIELDS)]
        for event in (
            more["restore"].upload(self.restore, [more["restore"], *files], uploaded, **EVERY),
            more["drops"].apply(self.restore_dropped, files, dropped, **EVERY),
            more["drops"].upload(self.take_files, form["mode"], taken, **EVERY),
        ):
            event.then(*refresh, **QUIET)

    def restore(self, path: str, request: gr.Request, *files: str | None) -> list[Any]:
        """Restore the settings of a video that was uploaded for that."""
        return [None, *self._settings_of(path, files, request)]

    def restore_dropped(self, event: gr.EventData, request: gr.Request, *files: str | None) -> list[Any]:
        """Restore the settings of a video that was dropped on the page."""
        *values, message, boxes = self._settings_of(str(event.path), files, request)
        return [*values, drops.notice(parts.plain_message(message), event._data.get("drop")), boxes]

    def _settings_of(self, path: str, files: Sequence[str | None], request: gr.Request) -> list[Any]:
        settings, origin = None, ""
        with suppress(MultiTalkError):
            self.backend.check_access([path], request)
            inspection = inspect_file(Path(path), trusted_certificates())
            settings, origin = read_result(Path(path), inspection.tags).settings, inspection.sentence
        return restored_values(settings, self.backend.worker, drops.filled(files), origin)

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
