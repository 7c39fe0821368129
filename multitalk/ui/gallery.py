"""The server's results: a folder of mp4 files that contain their settings, with a limited total size."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import threading
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..conditioning.metadata import TITLE
from ..errors import InvalidInput, MultiTalkError
from ..request.script import without_tags
from ..runtime.temporary_folders import remove_old_parts

logger = logging.getLogger(__name__)

NAME = re.compile(r"[\w][\w.-]{0,150}\.mp4", re.ASCII)
POSTERS = ".posters"
POSTER_SIDE = 360
MAX_WORDS = 8
MAX_TITLE = 80  # letters
PART_SECONDS = 3600  # older files that are half written belong to a killed server
READ_LETTERS = 2000  # of the text in a file, for its title


@dataclass(frozen=True)
class Result:
    """A finished video.

    Attributes:
        name: File name.
        seconds: Length.
        width, height: Size in pixels.
        created: Time of creation, in seconds since 1970.
        settings: Settings in the file's metadata, unchecked: a file may contain anything.
        by_multitalk: Whether the title tag is the one that MultiTalk writes.
    """

    name: str
    seconds: float
    width: int
    height: int
    created: float
    settings: dict[str, Any]
    by_multitalk: bool

    @property
    def title(self) -> str:
        """Title: the spoken text, else the file name."""
        words = " ".join(without_tags(spoken_words(self.settings)[:READ_LETTERS]).split())
        name = re.sub(r"-seed\d+(-\d+)?$", "", self.name.removesuffix(".mp4")).replace("-", " ")
        return plain_text(words, MAX_TITLE) or name


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

    def add(self, path: Path, title: str, seed: int) -> str:
        """Move a finished file into the folder, under a name made from title and seed; return the name.

        Raises:
            SaveFailed: The file cannot be moved; it stays where it is.
        """
        with self._lock:
            stem = f"{slug(title)}-seed{seed}"
            names = (f"{stem}.mp4", *(f"{stem}-{number}.mp4" for number in range(2, 10_000)))
            name = next(name for name in names if not (self.folder / name).exists())
            try:
                move_file(path, self.folder / name)
            except OSError as error:
                raise SaveFailed(path, self.folder, error.strerror or str(error)) from error
        self.poster(name)
        self._delete_oldest(keep=name)
        return name

    def results(self, most: int = 24) -> list[Result]:
        """Return the newest results, newest first."""
        return list(islice(self._results(), most))

    def result(self, name: str) -> Result | None:
        """Return a result; None if the file is missing, cannot be read, or was not made by MultiTalk.

        The folder may also contain other videos, which must not be shown or deleted.
        """
        path = self.folder / name
        if not NAME.fullmatch(name) or not path.is_file() or path.is_symlink():
            return None
        try:
            key = (name, path.stat().st_mtime_ns)
            if key not in self._cache:
                self._cache[key] = read_result(path)
        except OSError:  # just deleted
            return None
        except InvalidInput:
            self._cache[key] = None
        result = self._cache[key]
        return result if result is not None and result.by_multitalk else None

    def _results(self) -> Iterator[Result]:
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
            for result in self._results():
                path = self.folder / result.name
                try:
                    total += path.stat().st_size
                    if total > self.limit and result.name != keep:
                        logger.info("deleting %s: the results exceed %.0f bytes", result.name, self.limit)
                        path.unlink(missing_ok=True)
                        (self.folder / POSTERS / f"{result.name}.jpg").unlink(missing_ok=True)
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
    """Return a file name for a title: its first words, in ASCII letters."""
    plain = unicodedata.normalize("NFKD", without_tags(title))
    words = re.findall(r"[a-z0-9]+", plain.encode("ascii", "ignore").decode().lower())
    return "-".join(words[:MAX_WORDS])[:60].strip("-") or "video"


def spoken_words(settings: dict[str, Any]) -> str:
    """Return the spoken text in a file's settings; empty if it is missing or invalid."""
    scripts = settings.get("said")
    speeches = [settings.get("speech"), *(scripts.values() if isinstance(scripts, dict) else ())]
    texts = [speech.get("text") for speech in speeches if isinstance(speech, dict)]
    return " ".join(text for text in texts if isinstance(text, str))


def plain_text(value: Any, most: int) -> str:
    """Return a value of a file's settings as short text that is valid in JSON, without lone surrogates."""
    return str(value).encode("utf-8", "replace").decode()[:most]


def read_result(path: Path) -> Result:
    """Read the metadata of an mp4.

    Raises:
        InvalidInput: The file cannot be read as a video.
    """
    import av

    try:
        with av.open(str(path), "r", format="mp4") as file:
            video = file.streams.video[0]
            seconds = float((file.duration or 0) / av.time_base)
            comment, title = (file.metadata.get(tag, "") for tag in ("comment", "title"))
            width, height = video.width, video.height
    except (av.error.FFmpegError, OSError, IndexError, ValueError):
        raise InvalidInput("The file cannot be read as a video. Use an mp4 generated by MultiTalk.") from None
    try:
        settings = json.loads(comment)
    except (ValueError, RecursionError):
        settings = {}
    settings = settings if isinstance(settings, dict) else {}
    return Result(path.name, seconds, width, height, path.stat().st_mtime, settings, title == TITLE)


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
