"""Where a video comes from: Content Credentials, the watermark, tags, and settings."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InvalidInput
from ..marks import C2PA, WATERMARK
from ..marks.credentials import Credentials, read_credentials
from .files import open_file
from .video_tags import VideoTags, tags_of

UNREADABLE = "The file cannot be read as a video. Use an undamaged MP4, MOV, MKV, WebM or AVI file."
# An attribute or an element; other programs write XMP in another form.
SOURCE_TYPE = re.compile(r"DigitalSourceType\s*(?:=\s*[\"']|>)\s*([^\"'<\s]{1,200})")


@dataclass(frozen=True)
class Inspection:
    """What a file says about its origin.

    Attributes:
        tags: The file's metadata.
        source_type: IPTC's digital source type in the XMP metadata, a URI; empty without one.
        credentials: The Content Credentials; None without any.
        problem: Why existing credentials cannot be read; empty if they can.
        watermark: The number in the watermark of the frames; None without one.
    """

    tags: VideoTags
    source_type: str
    credentials: Credentials | None
    problem: str = ""
    watermark: int | None = None

    @property
    def marks(self) -> tuple[str, ...]:
        """Names of the intact marks that say that the video was made by AI."""
        credentials = self.credentials
        is_signed = credentials is not None and credentials.is_intact and credentials.is_ai
        found = {C2PA: is_signed, WATERMARK: self.watermark is not None}
        return tuple(name for name, is_found in found.items() if is_found)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings in the file's metadata, unchecked; empty without any."""
        try:
            settings = json.loads(self.tags.comment)
        except (ValueError, RecursionError):
            return {}
        return settings if isinstance(settings, dict) else {}

    @property
    def sentence(self) -> str:
        """What the Content Credentials and the watermark say, in two or three sentences."""
        if self.watermark is None:
            return self._credentials_sentence
        return f"{self._credentials_sentence} Watermark: made with MultiTalk, number {self.watermark}."

    @property
    def _credentials_sentence(self) -> str:
        credentials = self.credentials
        if credentials is None:
            return self.problem or "No Content Credentials."
        if not credentials.is_intact:
            return f"Content Credentials: not valid. {credentials.reason}"
        origin = "made by AI" if credentials.is_ai else "not said to be made by AI"
        generator = f" with {credentials.generator}" if credentials.generator else ""
        trust = "trusted" if credentials.state == "trusted" else "not a trusted certificate"
        return (
            f"Content Credentials: {origin}{generator}, and unchanged since. "
            f"Signed by {credentials.signer} ({trust})."
        )


def inspect_video(path: Path, trusted: str = "") -> Inspection:
    """Read what a user's video says about its origin; decoder processes open the file.

    Args:
        path: The file.
        trusted: Certificates to trust, as PEM.

    Raises:
        InvalidInput: The file cannot be read as a video.
    """
    from ..marks.reading import read_watermark  # imports OpenCV
    from .decoding import limits, run_task

    with open_file(path, "file", "video") as file:
        reply, _ = run_task("inspection", file, UNREADABLE, limits("video", 0), {"trusted": trusted})
    values = reply["credentials"]
    credentials = None if values is None else Credentials(**values | {"problems": tuple(values["problems"])})
    return Inspection(
        VideoTags(**reply["tags"]),
        reply["source_type"],
        credentials,
        reply["problem"],
        read_watermark(path),
    )


def read_inspection(file: BinaryIO, trusted: str) -> dict[str, Any]:
    """Read what an open file says; see :func:`inspect_video` for the arguments.

    Returns:
        The fields of an :class:`Inspection`, as JSON values.

    Raises:
        InvalidInput: The file cannot be read as a video.
    """
    from .video_file import Source, VideoFile
    from .xmp import read_xmp

    video = VideoFile(Source(file, "video", "file"))
    try:
        tags = tags_of(video.container, video.stream)
    finally:
        video.close()
    found = SOURCE_TYPE.search(read_xmp(file))
    credentials, problem = None, ""
    try:
        credentials = read_credentials(file, trusted)
    except InvalidInput as error:
        problem = str(error)
    return {
        "tags": asdict(tags),
        "source_type": found[1] if found else "",
        "credentials": None if credentials is None else asdict(credentials),
        "problem": problem,
    }
