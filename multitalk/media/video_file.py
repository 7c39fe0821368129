"""A video file that FFmpeg has open: its track, and the packets that can be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import av

from ..errors import InvalidInput
from .file_range import FileRange
from .files import reopened
from .media_parts import lacks_index
from .picture_formats import START, picture_format

# FFmpeg's names of the formats that are read. Playlists, for example, are excluded: they would make the
# decoder open other files.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,ogg,mxf,gif,ivf,nut,dv,m4v,h264,"
    "hevc,obu,rm"
)
MAX_PIXELS = 9_000_000  # of a frame, such as 4096 x 2160
MAX_FAILURES = 100  # consecutive
DEFAULT_RATE = 25.0  # of a raw stream that says none


@dataclass(frozen=True)
class Source:
    """A file to decode.

    Attributes:
        file: A seekable binary file.
        name: What it is called in errors.
        field: The request's field, for errors.
    """

    file: BinaryIO
    name: str
    field: str

    def error(self, text: str) -> InvalidInput:
        """Return the error of this file."""
        return InvalidInput(f"{self.field} ({self.name}) {text}", self.field)

    def unreadable(self) -> InvalidInput:
        """Return the error of a file without frames."""
        self.file.seek(0)
        if picture_format(self.file.read(START)) is not None:
            return self.error("is an image. Provide it as image, or use a video file.")
        if lacks_index(FileRange(self.file)):
            return self.error(
                "has no index (moov): the recording or the download was interrupted. Record or download it "
                "again, or repair it."
            )
        return self.error("cannot be read as a video. Use an undamaged MP4, MOV, MKV, WebM or AVI file.")


class VideoFile:
    """A video file that is open, and the track that is read.

    Attributes:
        is_damaged: Whether packets could not be read.

    Raises:
        InvalidInput: The file cannot be read as a video, or its frames are too large.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.is_damaged = False
        self._file = reopened(source.file)
        options = {"format_whitelist": CONTAINERS}
        try:
            self.container = av.open(FileRange(self._file), "r", options=options, metadata_errors="replace")
        except av.error.FFmpegError:
            self._file.close()
            raise source.unreadable() from None
        try:
            self.stream = self._choose_stream()
        except InvalidInput:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.container.close()
        self._file.close()

    @property
    def rate(self) -> float:
        """Frames per second that the file announces."""
        return float(self.stream.average_rate or self.stream.guessed_rate or DEFAULT_RATE)

    def packets(self) -> Iterator[av.Packet]:
        """Iterate over the track's packets; read on after those that cannot be read."""
        failures = 0
        while failures < MAX_FAILURES:
            try:
                for packet in self.container.demux(self.stream):
                    failures = 0
                    yield packet
                return
            except av.error.FFmpegError:
                failures += 1
                self.is_damaged = True

    def _choose_stream(self) -> Any:
        """Return the first video track that is no cover picture."""
        cover = av.stream.Disposition.attached_pic
        tracks = [each for each in self.container.streams.video if not each.disposition & cover]
        if not tracks:
            raise self.source.error("has no video track. Use a video file.")
        stream = next((each for each in tracks if each.codec_context is not None), None)
        if stream is None:
            raise self.source.error("has a video format that is not supported. Convert it to MP4 (H.264).")
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_PIXELS:
            raise self.source.error(
                f"is {width}x{height} pixels, but a video may have at most {MAX_PIXELS} pixels "
                "(such as 4096x2160). Use a smaller video."
            )
        return stream
