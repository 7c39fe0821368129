"""Where a video or an image comes from: Content Credentials, the watermark, tags, and settings."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InvalidInput
from ..marks import C2PA, WATERMARK
from ..marks.credentials import Credentials, read_credentials
from ..marks.identity import own_certificate
from ..marks.settings import certificate_folder
from ..marks.tags import is_ai
from .files import open_file
from .picture import read_picture
from .picture_formats import is_picture
from .video_tags import VideoTags, tags_of
from .xmp import read_picture_xmp, read_xmp

UNREADABLE = "cannot be read. Use an undamaged MP4, MOV, MKV, WebM, AVI, PNG, JPEG or WebP file."
# An attribute or an element; other programs write XMP in another form.
SOURCE_TYPE = re.compile(r"DigitalSourceType\s*(?:=\s*[\"']|>)\s*([^\"'<\s]{1,200})")


@dataclass(frozen=True)
class Inspection:
    """What a file says about its origin.

    Attributes:
        tags: The file's metadata; of an image, only its size.
        source_type: IPTC's digital source type in the XMP metadata, a URI; empty without one.
        credentials: The Content Credentials; None without any.
        problem: Why existing credentials cannot be read; empty if they can.
        watermark: The number in the watermark of the frames; None without one.
        frames_are_read: Whether they could be decoded, to search the watermark.
    """

    tags: VideoTags
    source_type: str
    credentials: Credentials | None
    problem: str = ""
    watermark: int | None = None
    frames_are_read: bool = True

    @property
    def marks(self) -> tuple[str, ...]:
        """Names of the intact marks that say that the video was made by AI."""
        credentials = self.credentials
        is_signed = credentials is not None and credentials.is_intact and credentials.is_ai
        found = {C2PA: is_signed, WATERMARK: self.watermark is not None}
        return tuple(name for name, is_found in found.items() if is_found)

    @property
    def is_valid(self) -> bool:
        """Whether nothing contradicts the file's Content Credentials; also without any."""
        return not self.problem and (self.credentials is None or self.credentials.is_intact)

    @property
    def verdict(self) -> str:
        """Whether the file is marked as made by AI, in a few words."""
        if not self.is_valid:
            is_changed = self.credentials is not None and self.credentials.is_changed
            found = "changed after it was signed" if is_changed else "its Content Credentials are not valid"
            says = "; its watermark says: made with MultiTalk"
            return found if self.watermark is None else found + says
        if self.marks:
            return f"marked as made by AI ({', '.join(self.marks)})"
        says_ai = is_ai(self.source_type) or "by artificial intelligence" in self.tags.description
        return "not marked" + ("; its unsigned metadata says: made by AI" if says_ai else "")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings in the file's metadata, unchecked; empty without any."""
        return self.tags.settings

    @property
    def sentence(self) -> str:
        """What the Content Credentials and the watermark say, in two or three sentences."""
        if not self.frames_are_read:
            return f"{self._credentials_sentence} The frames cannot be read."
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
        return (
            f"Content Credentials: {origin}{generator}, and unchanged since. "
            f"Signed by {credentials.signed_by}."
        )


def inspect_file(path: Path, trusted: str = "") -> Inspection:
    """Read what a user's video or image says about its origin; decoder processes open the file.

    Args:
        path: The file.
        trusted: Certificates to trust, as PEM; empty: only this installation's own is known.

    Raises:
        InvalidInput: The file can be read neither as a video nor as an image.
    """
    from ..marks.reading import picture_watermark, read_watermark  # imports OpenCV
    from .decoding import limits, run_task

    name = repr(str(path)[-200:])
    options = {"trusted": trusted, "own": own_certificate(certificate_folder())}
    with open_file(path, "file", "video or image") as file:
        unreadable = f"file ({name}) {UNREADABLE}"
        reply, _ = run_task("inspection", file, name, unreadable, limits("video", 0), options)
    values = reply["credentials"]
    credentials = None if values is None else Credentials(**values | {"problems": tuple(values["problems"])})
    if reply["tags"] is None:
        picture = read_picture(path, "file")
        tags, watermark = VideoTags(0.0, *picture.size, "", ""), picture_watermark(picture)
    else:
        tags = VideoTags(**reply["tags"])
        try:
            watermark = read_watermark(path)
        except InvalidInput:  # the rest of the file may be fine
            return Inspection(
                tags, reply["source_type"], credentials, reply["problem"], frames_are_read=False
            )
    return Inspection(tags, reply["source_type"], credentials, reply["problem"], watermark)


def read_inspection(file: BinaryIO, name: str, field: str, trusted: str, own: str) -> dict[str, Any]:
    """Read what an open file says.

    Args:
        file: A video or an image.
        name: What it is called in errors.
        field: The first word of errors.
        trusted: See :func:`inspect_file`.
        own: See :func:`multitalk.marks.credentials.read_credentials`.

    Returns:
        The fields of an :class:`Inspection` without the watermark, as JSON values; no tags of an image.

    Raises:
        InvalidInput: The file can be read neither as a video nor as an image.
    """
    from .video_file import Source, VideoFile

    try:
        video = VideoFile(Source(file, name, field))
    except InvalidInput:
        if not is_picture(file):
            raise
        tags, xmp = None, read_picture_xmp(file)
    else:
        try:
            tags = asdict(tags_of(video.container, video.stream))
        finally:
            video.close()
        xmp = read_xmp(file)
    found = SOURCE_TYPE.search(xmp)
    credentials, problem = None, ""
    try:
        credentials = read_credentials(file, trusted, own)
    except InvalidInput as error:
        problem = str(error)
    return {
        "tags": tags,
        "source_type": found[1] if found else "",
        "credentials": None if credentials is None else asdict(credentials),
        "problem": problem,
    }
