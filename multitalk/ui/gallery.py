"""The server's results: a folder of mp4 files that contain their settings, with a limited total size."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import threading
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..errors import InvalidInput, MultiTalkError
from ..request.script import without_tags
from ..runtime.temporary_folders import remove_old_parts
from .result import Result, read_result
from .result_notes import Note, delete_note, read_note, write_note

logger = logging.getLogger(__name__)

MAX_NAME = 240  # bytes of a file name; a thumbnail's is longer by ".jpg"
MAX_SLUG = 120  # bytes
POSTERS = ".posters"
POSTER_SIDE = 360
MAX_WORDS = 8
PART_SECONDS = 3600  # older files that are half written belong to a killed server


class Gallery:
    """The folder of results; the oldest are deleted if the total size exceeds the limit.

    Args:
        folder: The folder; created if it does not exist.
        limit: Maximum total size in bytes.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder, limit
        self._cache: dict[tuple[str, int], Result | None] = {}
        self._lock = threading.Lock()
        (folder / POSTERS).mkdir(parents=True, exist_ok=True)
        for parts in (folder, folder / POSTERS):
            remove_old_parts(parts, ".*.part", PART_SECONDS)

    def path(self, name: str) -> Path | None:
        """Return the file of a result, or None if there is no such result."""
        return None if self.result(name) is None else self.folder / name

    def poster(self, name: str) -> Path | None:
        """Return a thumbnail of a result, or None."""
        if self.path(name) is None:
            return None
        poster = self.folder / POSTERS / f"{name}.jpg"
        if not poster.is_file():
            with contextlib.suppress(Exception):  # a damaged file has no thumbnail, but is listed
                _write_poster(self.folder / name, poster)
        return poster if poster.is_file() else None

    def add(self, path: Path, title: str, seed: int, owner: str = "", source: str = "") -> str:
        """Move a finished file into the folder, under a name made from title and seed; return the name.

        Args:
            path: The file.
            title: The video's title.
            seed: Seed of its random numbers.
            owner: The browser that requested it.
            source: The uploaded video that was dubbed.

        Raises:
            SaveFailed: The file cannot be moved; it stays where it is.
        """
        with self._lock:
            stem = f"{slug(title)}-seed{seed}"
            names = (f"{stem}.mp4", *(f"{stem}-{number}.mp4" for number in range(2, 10_000)))
            name = next(name for name in names if not (self.folder / name).exists())
            if owner:  # first, so that the file never appears without its owner
                write_note(self.folder, name, Note(owner, title, source))
            try:
                move_file(path, self.folder / name)
            except OSError as error:
                with contextlib.suppress(OSError):
                    delete_note(self.folder, name)
                raise SaveFailed(path, self.folder, error.strerror or str(error)) from error
        self.poster(name)
        self._delete_oldest(keep=name)
        return name

    def results(self, most: int = 24) -> list[Result]:
        """Return the newest results, newest first."""
        return list(islice(self.iterate(), most))

    def delete(self, name: str) -> None:
        """Delete a result, its thumbnail and its note.

        Raises:
            OSError: The file cannot be deleted.
        """
        if self.path(name) is not None:
            (self.folder / name).unlink(missing_ok=True)
            (self.folder / POSTERS / f"{name}.jpg").unlink(missing_ok=True)
            delete_note(self.folder, name)

    def result(self, name: str) -> Result | None:
        """Return a result; None if the file is missing, cannot be read, or was not made by MultiTalk.

        The folder may also contain other videos, which must not be shown or deleted.
        """
        path = self.folder / name
        if not _is_name(name) or not path.is_file() or path.is_symlink():
            return None
        try:
            key = (name, path.stat().st_mtime_ns)
            if key not in self._cache:
                note = read_note(self.folder, name)
                self._cache[key] = replace(
                    read_result(path), owner=note.owner, noted_title=note.title, source=note.source
                )
        except OSError:  # just deleted
            return None
        except InvalidInput:
            self._cache[key] = None
        result = self._cache[key]
        return result if result is not None and result.by_multitalk else None

    def iterate(self) -> Iterator[Result]:
        """Iterate over the results, newest first."""
        dated = []
        for path in self.folder.glob("*.mp4"):
            with contextlib.suppress(OSError):
                dated.append((path.stat().st_mtime_ns, path.name))
        for _, name in sorted(dated, reverse=True):
            if (result := self.result(name)) is not None:
                yield result

    def _delete_oldest(self, keep: str) -> None:
        with self._lock:
            total = 0
            for result in self.iterate():
                path = self.folder / result.name
                try:
                    total += path.stat().st_size
                    if total > self.limit and result.name != keep:
                        logger.info("deleting %s: the results exceed %.0f bytes", result.name, self.limit)
                        self.delete(result.name)
                except OSError as error:  # does not affect the new video
                    logger.warning("cannot delete %s: %s", result.name, error)


class SaveFailed(MultiTalkError):
    """A finished video cannot be moved to the folder of results.

    Args:
        path: The finished video.
        folder: The folder.
        reason: Error message of the file system.
    """

    def __init__(self, path: Path, folder: Path, reason: str) -> None:
        super().__init__(
            f"The video is finished, but cannot be saved to {folder} ({reason}). Copy {path} on the server "
            "before the server stops, then free space in OUTPUT_DIR or choose another folder."
        )
        self.path = path


def move_file(source: Path, target: Path) -> None:
    """Move a file, also between file systems; the target is never incomplete.

    Raises:
        OSError: The file cannot be moved; the source is unchanged.
    """
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # a folder mounted into a container is on another file system than the temporary folder
        part = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            shutil.copyfile(source, part)
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        with contextlib.suppress(OSError):  # it is deleted with the temporary folder
            source.unlink()


def slug(title: str) -> str:
    """Return a file name for a title: its first words, in the letters of any language."""
    plain = unicodedata.normalize("NFKC", without_tags(title)).lower()
    words = "".join(letter if _is_letter(letter) else " " for letter in plain).split()
    name = "-".join(words[:MAX_WORDS])[:60].encode()[:MAX_SLUG].decode(errors="ignore")
    return name.strip("-") or "video"


def _is_name(name: str) -> bool:
    """Whether a name can be that of a result: without folders, hidden files and control characters."""
    return (
        name.endswith(".mp4")
        and (name[0].isalnum() or name[0] == "_")
        and all(_is_letter(letter) or letter in "._-" for letter in name)
        and len(name.encode()) <= MAX_NAME
    )


def _is_letter(letter: str) -> bool:
    """Whether a character is a letter, a digit, or a mark that belongs to a letter."""
    return letter.isalnum() or unicodedata.category(letter).startswith("M")


def _write_poster(video: Path, poster: Path) -> None:
    import av

    with av.open(str(video)) as file:
        picture = next(file.decode(video=0)).to_image()
    picture.thumbnail((POSTER_SIDE, POSTER_SIDE))
    part = poster.with_name(f".{uuid.uuid4().hex}.part")  # unique, since two browsers may request it at once
    try:
        picture.save(part, "JPEG", quality=85)
        os.replace(part, poster)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
