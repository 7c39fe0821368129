"""A finished video, as its file and the gallery's note describe it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..conditioning.metadata import TITLE
from ..errors import InvalidInput
from ..media.video_tags import UNREADABLE, VideoTags, read_tags
from ..request.script import without_tags

MAX_TITLE = 80  # letters
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
        owner: The browser that requested it; empty if it is unknown.
        noted_title: Title of the job; empty if it is unknown.
        source: The uploaded video that was dubbed, which may have been deleted; empty without one.
    """

    name: str
    seconds: float
    width: int
    height: int
    created: float
    settings: dict[str, Any]
    by_multitalk: bool
    owner: str = ""
    noted_title: str = ""
    source: str = ""

    @property
    def title(self) -> str:
        """Title: the job's title, else the spoken text, else the file name."""
        text = self.noted_title or spoken_words(self.settings)[:READ_LETTERS]
        words = " ".join(without_tags(text).split())
        name = re.sub(r"-seed\d+(-\d+)?$", "", self.name.removesuffix(".mp4")).replace("-", " ")
        return plain_text(words, MAX_TITLE) or name


def spoken_words(settings: dict[str, Any]) -> str:
    """Return the spoken text in a file's settings; empty if it is missing or invalid."""
    scripts = settings.get("said")
    speeches = [settings.get("speech"), *(scripts.values() if isinstance(scripts, dict) else ())]
    texts = [speech.get("text") for speech in speeches if isinstance(speech, dict)]
    return " ".join(text for text in texts if isinstance(text, str))


def plain_text(value: Any, most: int) -> str:
    """Return a value of a file's settings as short text that is valid in JSON, without lone surrogates."""
    return str(value).encode("utf-8", "replace").decode()[:most]


def read_result(path: Path, tags: VideoTags | None = None) -> Result:
    """Read the metadata of an mp4.

    Args:
        path: The file.
        tags: Its tags; None reads them here, which only a file of this server may be.

    Raises:
        InvalidInput: The file cannot be read as a video.
    """
    if tags is None:
        try:
            with path.open("rb") as file:
                tags = read_tags(file)
        except OSError:
            raise InvalidInput(UNREADABLE) from None
    changed = path.stat().st_mtime
    is_ours = tags.title == TITLE
    return Result(path.name, tags.seconds, tags.width, tags.height, changed, tags.settings, is_ours)
