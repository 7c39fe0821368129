"""What a source video says about itself: whether AI made all of it, and the settings it was made with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ..errors import InvalidInput
from ..marks.credentials import INVALID
from ..marks.tags import GENERATED
from .decoding import limits, run_task
from .video_tags import VideoTags

UNREADABLE = "The file cannot be read as a video."


@dataclass(frozen=True)
class VideoOrigin:
    """What a file says, as far as it can be believed.

    Attributes:
        is_generated: A generative model made all of it, as its intact Content Credentials say, or its XMP if
            it has none.
        settings: The settings in the metadata of a file that was made here, unchecked; empty without any.
    """

    is_generated: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


def read_origin(file: BinaryIO) -> VideoOrigin:
    """Read what an open file says, in a decoder process; an unreadable file says nothing."""
    try:
        options = {"trusted": "", "own": ""}
        reply, _ = run_task("inspection", file, "video", UNREADABLE, limits("video", 0), options)
    except InvalidInput:
        return VideoOrigin()
    credentials, source_type = reply["credentials"], reply["source_type"]
    if credentials is not None:
        source_type = "" if credentials["state"] == INVALID else credentials["source_type"]
    elif reply["problem"]:
        source_type = ""
    tags = reply["tags"]  # none of an image
    return VideoOrigin(source_type == GENERATED, VideoTags(**tags).settings if tags else {})
