"""Images that browsers show differently from the video, or not at all."""

from __future__ import annotations

from pathlib import Path

from ..media.picture_formats import START, picture_format

# Browsers do not show these, or only some of them.
NOT_SHOWN = ("TIFF", "HEIF")
# Browsers ignore the EXIF orientation in these formats, or only some of them apply it.
NOT_TURNED = {"WEBP": b"EXIF", "PNG": b"eXIf", "AVIF": b"Exif"}
SEARCHED = 2**20  # bytes at the start and at the end


def is_shown_as_in_video(path: str | Path) -> bool:
    """Whether every browser shows an image as the video does: upright, and at all."""
    with open(path, "rb") as file:
        start = file.read(SEARCHED)
        size = file.seek(0, 2)
        file.seek(max(len(start), size - SEARCHED))
        end = file.read()
    kind = picture_format(start[:START])
    mark = NOT_TURNED.get(kind or "")
    return kind not in NOT_SHOWN and (mark is None or (mark not in start and mark not in end))
