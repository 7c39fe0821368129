"""Unfinished jobs on disk, so that they survive a restart of the server."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .loras import place_files

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest
    from ..request.parts import Speech

logger = logging.getLogger(__name__)

RECORD, IMAGE, FIELDS = "job.json", "image.png", "request.json"
VIDEOS = ("video", "continue_from")
ID = re.compile(r"[0-9a-f]{32}")
KEEP_FREE = 2 * 10**9  # bytes that copies of LoRAs and videos leave free, for results
LOST_SECONDS = 24 * 3600  # a lost job can be requested again for this time, as long as uploads are kept


@dataclass
class JobRecord:
    """An unfinished job without its request.

    Attributes:
        id, title, owner, result: As in :class:`multitalk.ui.job.Job`.
        changed: Time when it was requested or started, in seconds since 1970.
        started: Whether the job was running: it is lost if the server stops.
        scripts: Text of each person whose audio was made from it, as plain values.
    """

    id: str
    title: str
    owner: str
    changed: float = field(default_factory=time.time)
    started: bool = False
    result: str | None = None
    scripts: dict[str, Any] = field(default_factory=dict)


class JobStore:
    """A folder with a subfolder for each unfinished job.

    The image is stored as PNG, the audio as float WAV and a LoRA as a copy: a job gives the same video after
    a restart.

    Args:
        folder: The folder; created when the first job is stored.
        temporary: Folder of files that do not survive a restart: of the LoRAs, only these are copied.
    """

    def __init__(self, folder: Path, temporary: Path | None = None) -> None:
        self._folder, self._temporary = folder, temporary

    def add(self, record: JobRecord, request: GenerationRequest, scripts: Mapping[str, Speech]) -> None:
        """Store a job; a failure is logged, and the job does not survive a restart."""
        record.scripts = {person: speech.model_dump(mode="json") for person, speech in scripts.items()}
        folder = self._folder / record.id
        try:
            folder.mkdir(parents=True, mode=0o700)
            self._check_room(request, folder)
            _write_request(self._with_own_loras(request, folder), folder)
            self._write(record)  # last: a folder without a record is incomplete
        except OSError as error:
            logger.warning("cannot store a waiting job, which a restart would lose: %s", error)
            self.remove(record.id)

    def _with_own_loras(self, request: GenerationRequest, folder: Path) -> GenerationRequest:
        """Copy LoRAs that a restart would delete.

        Raises:
            OSError: A file cannot be copied.
        """
        return place_files(request, folder, self._is_temporary)

    def _is_temporary(self, path: Path) -> bool:
        return self._temporary is not None and path.is_relative_to(self._temporary)

    def _check_room(self, request: GenerationRequest, folder: Path) -> None:
        """Check that there is room for the copies of a request's videos and LoRAs.

        Raises:
            OSError: The disk would be almost full.
        """
        videos = (video for name in VIDEOS if (video := getattr(request, name)) is not None)
        size = sum(os.fstat(video.file.fileno()).st_size for video in videos)
        size += sum(lora.path.stat().st_size for lora in request.lora if self._is_temporary(lora.path))
        if size and shutil.disk_usage(folder).free - size < KEEP_FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    def update(self, record: JobRecord) -> None:
        """Write a job's record, with the time of the change; without effect if the job is not stored."""
        record.changed = time.time()
        try:
            self._write(record)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                logger.warning("cannot store the state of a job: %s", error)

    def _write(self, record: JobRecord) -> None:
        folder = self._folder / record.id
        part = folder / f"{RECORD}.part"
        part.write_text(json.dumps(asdict(record)), encoding="utf-8")
        os.replace(part, folder / RECORD)

    def remove(self, job_id: str) -> None:
        """Delete a job's files."""
        shutil.rmtree(self._folder / job_id, ignore_errors=True)

    def records(self) -> list[JobRecord]:
        """Return the stored jobs, oldest first; those that are incomplete or too old are deleted."""
        return sorted(self._records(), key=lambda record: record.changed)

    def _records(self) -> Iterator[JobRecord]:
        with contextlib.suppress(OSError):
            for folder in [path for path in self._folder.iterdir() if ID.fullmatch(path.name)]:
                try:
                    record = JobRecord(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
                    if record.started and time.time() - record.changed > LOST_SECONDS:
                        raise ValueError("too old")
                except (OSError, ValueError, TypeError):
                    self.remove(folder.name)
                else:
                    yield record

    def request(self, job_id: str) -> GenerationRequest:
        """Read a job's request.

        Raises:
            InvalidInput: A file of the job is missing or invalid.
        """
        return _read_request(self._folder / job_id)

    def scripts(self, record: JobRecord) -> dict[str, Speech]:
        """Return the text of each person of a job.

        Raises:
            InvalidInput: The record is invalid.
        """
        from ..request.parts import Speech

        return {person: Speech.checked(speech) for person, speech in record.scripts.items()}


def _write_request(request: GenerationRequest, folder: Path) -> None:
    import soundfile

    from ..media.files import reopened

    files = {"image", *VIDEOS, "audio"}
    fields = request.model_dump(mode="json", exclude=files, exclude_unset=True)
    stored = {"fields": fields, "warnings": request.warnings}
    (folder / FIELDS).write_text(json.dumps(stored), encoding="utf-8")
    if request.image is not None:
        image = request.image.copy()
        image.info.clear()  # PNG would save a color profile or transparency, which change the pixels
        image.save(folder / IMAGE, compress_level=1)
    for name in VIDEOS:
        if (video := getattr(request, name)) is not None:
            with reopened(video.file) as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)
    for person, sound in (request.audio or {}).items():
        soundfile.write(folder / f"{person}.wav", sound.samples, sound.rate, subtype="FLOAT")


def _read_request(folder: Path) -> GenerationRequest:
    from ..errors import InvalidInput
    from ..request.build import build_request
    from ..request.script import PEOPLE

    try:
        stored = json.loads((folder / FIELDS).read_text(encoding="utf-8"))
        fields, warnings = dict(stored["fields"]), stored["warnings"]
        sources = [name for name in (IMAGE, *VIDEOS) if (folder / name).is_file()]
        if not sources:
            raise ValueError("no image or video")
    except (KeyError, OSError, TypeError, ValueError):
        raise InvalidInput("The files of this video's job are missing. Generate the video again.") from None
    fields |= {Path(source).stem: folder / source for source in sources}
    sounds = {person: folder / f"{person}.wav" for person in PEOPLE}
    if audio := {person: path for person, path in sounds.items() if path.is_file()}:
        fields["audio"] = audio
    return build_request(fields).with_warnings(*warnings)
