"""Example inputs: images and audio files in ``examples/``."""

from __future__ import annotations

import base64
import filecmp
import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import InvalidInput
from ..media.picture import read_picture
from ..media.source_video import read_video
from .options import IN_TURNS, ONE, SCRIPT, SOUND, TEXT

FOLDER = Path(__file__).resolve().parents[2] / "examples"
FIELDS: tuple[str, ...] = ("picture", "mode", "script")
FIELDS += tuple(f"person{n}_{name}" for n in (1, 2) for name in ("source", "sound", "text"))
EXAMPLES: dict[str, dict[str, Any]] = {
    "One person": {"picture": "one_person.png", "mode": ONE, "person1_sound": "one_person.wav"},
    "Two in turns": {
        "picture": "two_people.png",
        "mode": IN_TURNS,
        "person1_sound": "left.wav",
        "person2_sound": "right.wav",
    },
    "Text to speech": {
        "picture": "one_person.png",
        "mode": ONE,
        "person1_source": TEXT,
        "person1_text": "Hello! I was only a drawing.",
    },
    "Dialogue script": {
        "picture": "two_people.png",
        "mode": SCRIPT,
        "script": "(s1) Do you like to talk?\n(s2) Yes, very much!",
    },
}
# on the page below "Dub a video instead"
VIDEO = FOLDER / "talking.mp4"
VIDEO_VOICE = FOLDER / "one_person.wav"
EMPTY = {"script": "", "person1_source": SOUND, "person2_source": SOUND}
THUMBNAIL = 144


def example_cards() -> list[dict[str, str]]:
    """Return the name, title and thumbnail of each example whose files exist."""
    cards = []
    for name, example in EXAMPLES.items():
        files = [FOLDER / example[field] for field in _files(example)]
        if all(file.is_file() for file in files):
            cards.append({"name": name, "title": name, "picture": _thumbnail(FOLDER / example["picture"])})
    return cards


def reset_labels(form: Mapping[str, Any], values: Mapping[str, Any], labels: Mapping[str, str]) -> list[str]:
    """Return the labels of the fields that an example does not show, and that it changes.

    Args:
        form: The form's values by field name.
        values: The example's values of all fields.
        labels: The fields' labels.
    """
    changed = [
        name for name in values if name not in FIELDS and (form[name] or None) != (values[name] or None)
    ]
    if "size" in changed:
        changed = [name for name in changed if name not in ("height", "width")]
    return [labels[name] for name in changed]


def example_values(name: str) -> dict[str, Any]:
    """Return the form's values of an example, for all ``FIELDS``; files are paths."""
    example = EXAMPLES[name]
    files = {field: str(FOLDER / example[field]) for field in _files(example)}
    return dict.fromkeys(FIELDS) | EMPTY | example | files


def is_example(path: str) -> bool:
    """Return whether a file is the picture of an example, or the first frame of the example video."""
    pictures = {FOLDER / example["picture"] for example in EXAMPLES.values()}
    try:
        if any(file.is_file() and filecmp.cmp(path, file, shallow=False) for file in pictures):
            return True
        return VIDEO.is_file() and _same_pixels(read_picture(path), _first_frame())
    except (OSError, InvalidInput):  # uploads are deleted after a day
        return False


def _same_pixels(first: Image.Image, second: Image.Image) -> bool:
    return first.size == second.size and first.tobytes() == second.tobytes()


@cache
def _first_frame() -> Image.Image:
    return read_video(VIDEO).picture


def small_picture(picture: Image.Image, side: int, kind: str = "JPEG") -> str:
    """Return a scaled-down image as a data URI."""
    copy = picture.convert("RGB")
    copy.thumbnail((side, side))
    file = io.BytesIO()
    copy.save(file, kind, quality=85)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _files(example: dict[str, Any]) -> list[str]:
    return [field for field in ("picture", "person1_sound", "person2_sound") if field in example]


def _thumbnail(path: Path) -> str:
    with Image.open(path) as picture:
        return small_picture(picture, THUMBNAIL)
