"""This server's results: a folder of mp4 files that carry their own settings, kept below a size."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import threading
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidInput

logger = logging.getLogger(__name__)

NAME = re.compile(r"[\w][\w.-]{0,150}\.mp4", re.ASCII)
POSTERS = ".posters"
POSTER_SIDE = 360
MAX_WORDS = 8


@dataclass(frozen=True)
class Result:
    """A finished video.

    Attributes:
        name: Of its file.
        seconds: Its length.
        width, height: In pixels.
        created: Seconds since 1970.
        settings: What it was made with, as the file itself tells.
    """

    name: str
    seconds: float
    width: int
    height: int
    created: float
    settings: dict[str, Any]

    @property
    def title(self) -> str:
        """What people call it."""
        words = str((self.settings.get("speech") or {}).get("text") or "")
        words = " ".join(re.sub(r"\(\s*s\s*\d+\s*\)", " ", words, flags=re.IGNORECASE).split())
        return words[:80] or re.sub(r"-seed\d+(-\d+)?$", "", self.name.removesuffix(".mp4")).replace("-", " ")


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
        path = self.folder / name
        return path if NAME.fullmatch(name) and path.is_file() and not path.is_symlink() else None

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
        """Take a finished file in, under a name that tells what it is; returns the name."""
        with self._lock:
            stem = f"{slug(title)}-seed{seed}"
            names = (f"{stem}.mp4", *(f"{stem}-{number}.mp4" for number in range(2, 10_000)))
            name = next(name for name in names if not (self.folder / name).exists())
            os.replace(path, self.folder / name)
        self.poster(name)
        self._make_room(keep=name)
        return name

    def results(self, most: int = 24) -> list[Result]:
        """The newest results first."""
        found = []
        for path in self._files()[:most]:
            if (result := self.result(path.name)) is not None:
                found.append(result)
        return found

    def result(self, name: str) -> Result | None:
        """What a file tells about itself; None where it isn't there or can't be read."""
        path = self.path(name)
        if path is None:
            return None
        key = (name, path.stat().st_mtime_ns)
        if key not in self._known:
            try:
                self._known[key] = read_result(path)
            except InvalidInput:
                self._known[key] = None
        return self._known[key]

    def _files(self) -> list[Path]:
        dated = []
        for path in self.folder.glob("*.mp4"):
            if self.path(path.name) is not None:
                with contextlib.suppress(OSError):
                    dated.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(dated, reverse=True)]

    def _make_room(self, keep: str) -> None:
        with self._lock:
            total = 0
            for path in self._files():
                total += path.stat().st_size
                if total > self.limit and path.name != keep:
                    logger.info("%s goes: the results are larger than %d bytes", path.name, self.limit)
                    path.unlink(missing_ok=True)
                    (self.folder / POSTERS / f"{path.name}.jpg").unlink(missing_ok=True)


def slug(title: str) -> str:
    """A title as a file's name: its first words, in plain letters."""
    plain = unicodedata.normalize("NFKD", re.sub(r"\(\s*s\s*\d+\s*\)", " ", title, flags=re.IGNORECASE))
    words = re.findall(r"[a-z0-9]+", plain.encode("ascii", "ignore").decode().lower())
    return "-".join(words[:MAX_WORDS])[:60].strip("-") or "video"


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
            comment = file.metadata.get("comment", "")
            width, height = video.width, video.height
    except (av.error.FFmpegError, OSError, IndexError, ValueError):
        raise InvalidInput("This isn't a video that can be read: drop an mp4 that was made here.") from None
    try:
        settings = json.loads(comment)
    except (ValueError, RecursionError):
        settings = {}
    settings = settings if isinstance(settings, dict) else {}
    return Result(path.name, seconds, width, height, path.stat().st_mtime, settings)


def _write_poster(video: Path, poster: Path) -> None:
    import av

    with av.open(str(video)) as file:
        picture = next(file.decode(video=0)).to_image()
    picture.thumbnail((POSTER_SIDE, POSTER_SIDE))
    temporary = poster.with_suffix(".part")
    picture.save(temporary, "JPEG", quality=85)
    os.replace(temporary, poster)
