"""Put files that are dropped anywhere on the page into their fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from ..request.script import PAIR
from . import options
from .fields import NAMES, each

PICTURE, SOUND, VIDEO = "picture", "sound", "video"
FIELDS = ("picture", "video", "continue_from", "mode", *each("source", "sound"))
FILES = ("picture", "person1_sound", "person2_sound")


def notice(text: str, drop: Any = None) -> dict[str, Any]:
    """Return the value of the page's notice; the id shows the same text again.

    Args:
        text: The text; empty: none.
        drop: Number of the drop that it is about, as the page's script has sent it; None: a new one.
    """
    return {"text": text, "drop": drop if isinstance(drop, int) else None, "id": uuid4().hex}


def filled(files: Sequence[str | None]) -> list[str]:
    """Return those of ``FILES`` that the form contains.

    Args:
        files: The form's values of ``FILES``.
    """
    return [name for name, file in zip(FILES, files, strict=True) if file]


def dropped_values(
    files: Any,
    person: Any,
    mode: str,
    sound_of: Callable[[str], str],
    first_frame: Callable[[str], str] | None = None,
) -> tuple[dict[str, Any], str]:
    """Return new values of ``FIELDS`` for dropped files, and a message about them.

    Args:
        files: Uploaded files, each ``{"kind": ..., "name": ..., "path": ...}``; unchecked.
        person: The person whose tab is open.
        mode: The form's mode.
        sound_of: Returns the audio file of a video's audio.
        first_frame: Returns the image file of the first frame of a video, which is to be dubbed; None if
            videos are audio, because they were not dropped on the image.

    Raises:
        MultiTalkError: A video has no audio, or cannot be dubbed.
    """
    checked = checked_files(files)
    values: dict[str, Any] = {}
    messages = []
    sources = [file for file in checked if file["kind"] == VIDEO] if first_frame is not None else []
    if sources and first_frame is not None:
        values |= {"picture": first_frame(sources[0]["path"]), "video": sources[0]["path"]}
        messages.append(f"Video to dub: {sources[0]['name']}.")
    elif pictures := [file for file in checked if file["kind"] == PICTURE]:
        values |= {"picture": pictures[0]["path"], "video": None}
        messages.append(f"Image: {pictures[0]['name']}.")
    if "picture" in values:
        values["continue_from"] = None
    sounds = [file for file in checked if file["kind"] in (SOUND, VIDEO) and file not in sources][:2]
    if len(sounds) == 2 and mode in (options.ONE, options.SCRIPT):
        mode = values["mode"] = options.IN_TURNS
    elif sounds and mode == options.SCRIPT:
        mode = values["mode"] = options.ONE
    first = person if person in PAIR and mode != options.ONE else PAIR[0]
    for speaker, file in zip(PAIR if len(sounds) == 2 else (first,), sounds, strict=False):
        path = file["path"] if file["kind"] == SOUND else sound_of(file["path"])
        values |= {f"{speaker}_source": options.SOUND, f"{speaker}_sound": path}
        messages.append(f"Audio of {NAMES[speaker]}: {file['name']}.")
    if len(messages) < len(checked):
        messages.append("Other files are not used.")
    return values, " ".join(messages)


def checked_files(files: Any) -> list[dict[str, str]]:
    """Return the valid files in the data of an event."""
    return [file for file in files if _is_file(file)] if isinstance(files, list) else []


def _is_file(file: Any) -> bool:
    return isinstance(file, dict) and all(isinstance(file.get(key), str) for key in ("kind", "name", "path"))
