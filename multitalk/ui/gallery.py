"""This server's results: a folder of mp4 files that carry their own settings, kept below a size."""

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

logger = logging.getLogger(__name__)

NAME = re.compile(r"[\w][\w.-]{0,150}\.mp4", re.ASCII)
POSTERS = ".posters"
POSTER_SIDE = 360
MAX_WORDS = 8
MAX_TITLE = 80  # letters
READ_LETTERS = 2000  # of the words in a file, for its title


@dataclass(frozen=True)
class Result:
    """A finished video.

    Attributes:
        name: Of its file.
        seconds: Its length.
        width, height: In pixels.
        created: Seconds since 1970.
        settings: What it was made with, as the file itself tells; it may tell anything.
        made_here: Whether its title tag is the one that MultiTalk writes.
    """

    name: str
    seconds: float
    width: int
    height: int
    created: float
    settings: dict[str, Any]
    made_here: bool

    @property
    def title(self) -> str:
        """What people call it."""
        words = " ".join(without_tags(spoken_words(self.settings)[:READ_LETTERS]).split())
        name = re.sub(r"-seed\d+(-\d+)?$", "", self.name.removesuffix(".mp4")).replace("-", " ")
        return plain_text(words, MAX_TITLE) or name


class Gallery:
    """The folder of results; the oldest go when it grows beyond its limit.

    Args:
        folder: Where they lie; made when it isn't there.
        limit: Bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._known: dict[tuple[str, int], Result | None] = {}
        self._lock = threading.Lock()
        (folder / POSTERS).mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path | None:
        """The file of a result, or None where there is no such result."""
        return None if self.result(name) is None else self.folder / name

    def poster(self, name: str) -> Path | None:
        """A small picture of a result."""
        if self.path(name) is None:
            return None
        poster = self.folder / POSTERS / f"{name}.jpg"
        if not poster.is_file():
            with contextlib.suppress(Exception):  # a damaged file has no picture; it is still listed
                _write_poster(self.folder / name, poster)
        return poster if poster.is_file() else None

    def adopt(self, path: Path, title: str, seed: int) -> str:
        """Take a finished file in, under a name that tells what it is; returns the name.

        Raises:
            NotKept: The folder doesn't take it; the file stays where it is.
        """
        with self._lock:
            stem = f"{slug(title)}-seed{seed}"
            names = (f"{stem}.mp4", *(f"{stem}-{number}.mp4" for number in range(2, 10_000)))
            name = next(name for name in names if not (self.folder / name).exists())
            try:
                move_file(path, self.folder / name)
            except OSError as error:
                raise NotKept(path, self.folder, error.strerror or str(error)) from error
        self.poster(name)
        self._make_room(keep=name)
        return name

    def results(self, most: int = 24) -> list[Result]:
        """The newest results first."""
        return list(islice(self._results(), most))

    def result(self, name: str) -> Result | None:
        """What a file tells about itself; None where it isn't there, can't be read or wasn't made here.

        The folder may be one where people keep their own videos, which aren't the page's to show or delete.
        """
        path = self.folder / name
        if not NAME.fullmatch(name) or not path.is_file() or path.is_symlink():
            return None
        try:
            key = (name, path.stat().st_mtime_ns)
            if key not in self._known:
                self._known[key] = read_result(path)
        except OSError:  # it has just gone
            return None
        except InvalidInput:
            self._known[key] = None
        known = self._known[key]
        return known if known is not None and known.made_here else None

    def _results(self) -> Iterator[Result]:
        """The newest first."""
        dated = []
        for path in self.folder.glob("*.mp4"):
            with contextlib.suppress(OSError):
                dated.append((path.stat().st_mtime_ns, path.name))
        for _, name in sorted(dated, reverse=True):
            if (result := self.result(name)) is not None:
                yield result

    def _make_room(self, keep: str) -> None:
        with self._lock:
            total = 0
            for result in self._results():
                path = self.folder / result.name
                try:
                    total += path.stat().st_size
                    if total > self.limit and result.name != keep:
                        logger.info("%s goes: the results are larger than %d bytes", result.name, self.limit)
                        path.unlink(missing_ok=True)
                        (self.folder / POSTERS / f"{result.name}.jpg").unlink(missing_ok=True)
                except OSError as error:  # the new video is there all the same
                    logger.warning("%s can't be removed: %s", result.name, error)


class NotKept(MultiTalkError):
    """A finished video that the folder of results doesn't take.

    Args:
        path: Where it lies instead.
        folder: The folder.
        reason: What the file system said.
    """

    def __init__(self, path: Path, folder: Path, reason: str) -> None:
        super().__init__(
            f"The video is finished, but it can't be put into {folder}: {reason}. Until the server stops, it "
            f"lies on the server as {path}: copy it from there, then free OUTPUT_DIR or choose another."
        )
        self.path = path


def move_file(source: Path, target: Path) -> None:
    """Move a file, also from one file system to another; the target is there whole or not at all.

    Raises:
        OSError: It can't be moved; the source is still there.
    """
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # a folder mounted into a container is another file system than the temporary folder
        part = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            shutil.copyfile(source, part)
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        with contextlib.suppress(OSError):  # it goes with the temporary folder
            source.unlink()


def slug(title: str) -> str:
    """A title as a file's name: its first words, in plain letters."""
    plain = unicodedata.normalize("NFKD", without_tags(title))
    words = re.findall(r"[a-z0-9]+", plain.encode("ascii", "ignore").decode().lower())
    return "-".join(words[:MAX_WORDS])[:60].strip("-") or "video"


def spoken_words(settings: dict[str, Any]) -> str:
    """The words that a file says it has; empty where it has none, or something else in their place."""
    said = settings.get("said")
    speeches = [settings.get("speech"), *(said.values() if isinstance(said, dict) else ())]
    texts = [speech.get("text") for speech in speeches if isinstance(speech, dict)]
    return " ".join(text for text in texts if isinstance(text, str))


def plain_text(value: Any, most: int) -> str:
    """Something of a file's settings as a short text that JSON can carry: no lone surrogates."""
    return str(value).encode("utf-8", "replace").decode()[:most]


def read_result(path: Path) -> Result:
    """What an mp4 tells about itself.

    Raises:
        InvalidInput: It can't be read as a video.
    """
    import av

    try:
        with av.open(str(path), "r", format="mp4") as file:
            video = file.streams.video[0]
            seconds = float((file.duration or 0) / av.time_base)
            comment, title = (file.metadata.get(tag, "") for tag in ("comment", "title"))
            width, height = video.width, video.height
    except (av.error.FFmpegError, OSError, IndexError, ValueError):
        raise InvalidInput("This isn't a video that can be read: drop an mp4 that was made here.") from None
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
    part = poster.with_name(f".{uuid.uuid4().hex}.part")  # two browsers may ask for it at once
    try:
        picture.save(part, "JPEG", quality=85)
        os.replace(part, poster)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
