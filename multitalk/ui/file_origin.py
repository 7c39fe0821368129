"""What the page says about the origin of a video file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..marks.settings import trusted_certificates
from ..media.inspection import Inspection, inspect_file

NO_MARKS = "no Content Credentials, no watermark and no settings of MultiTalk."
WATERMARK_ALONE = (
    "made with MultiTalk, according to its watermark (number {}). No Content Credentials, and no settings to "
    "restore."
)
NO_SETTINGS = "No settings to restore."


@dataclass(frozen=True)
class FileFacts:
    """A video file, as far as the page reports it.

    Attributes:
        name: The file's name or the video's title, with which the page's messages begin.
        settings: Its settings, unchecked; empty without any.
        seconds: Its length.
        origin: What it says about its origin.
        without_settings: The same, for a file without valid settings.
    """

    name: str
    settings: dict[str, Any]
    seconds: float = 0.0
    origin: str = ""
    without_settings: str = NO_SETTINGS


def read_facts(path: Path, name: str) -> FileFacts:
    """Read a user's video.

    Args:
        path: The file.
        name: How messages name it.

    Raises:
        InvalidInput: The file cannot be read as a video.
    """
    inspection = inspect_file(path, trusted_certificates())
    return FileFacts(
        name, inspection.settings, inspection.tags.seconds, inspection.sentence, _without_settings(inspection)
    )


def _without_settings(inspection: Inspection) -> str:
    if inspection.credentials is not None or inspection.problem:
        return f"{inspection.sentence} {NO_SETTINGS}"
    return NO_MARKS if inspection.watermark is None else WATERMARK_ALONE.format(inspection.watermark)
