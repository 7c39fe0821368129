"""Reading the video that a request dubs: checked at once, its frames read one by one later."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ..errors import InvalidInput
from .decoder_messages import shared_file
from .decoder_process import DecoderProcess, DecodingFailed, Limits
from .decoding import SENTENCES, VIDEO_STEP_SECONDS, decode, limits, pool
from .files import open_file
from .frame_position import Cut, FramePosition
from .mix import shifted
from .picture import as_picture
from .sound import Sound
from .sound_reading import read_sound
from .stopping import stopped_by
from .video_origin import VideoOrigin, read_origin

logger = logging.getLogger(__name__)

FIELD = "video"
DAMAGED = "the file is damaged. Frames that cannot be decoded are replaced by the one before."
SLOWEST_DECODING = 2e7  # pixels per second of processor time
COMPARISON_SECONDS = 0.01  # of processor time for a frame, several times what it takes


@dataclass(frozen=True, eq=False)
class Video:
    """A video file that was checked.

    Attributes:
        file: The open file; bytes are in shared memory.
        name: What it is called in errors.
        picture: Its first frame: RGB, upright.
        frames: Number of frames.
        seconds: Length.
        has_sound: Whether it has an audio track.
        sound_delay: Seconds by which the audio track starts after the first frame.
        warnings: What is missing or damaged, one sentence each.
        field_name: The request's field, for errors.
        cuts: The cuts that `find_cuts` has found.
    """

    file: BinaryIO
    name: str
    picture: Image.Image
    frames: int
    seconds: float
    has_sound: bool
    sound_delay: float
    warnings: tuple[str, ...] = ()
    field_name: str = FIELD
    cuts: list[Cut] = field(default_factory=list, init=False)

    def open(self, start: float = 0.0) -> VideoReader:
        """Return a reader of the frames, which starts a process with the first frame that is read.

        Args:
            start: No earlier frame is read: seconds after the first frame.
        """
        return VideoReader(self, start)

    def frames_at(self, rate: int) -> int:
        """Return the number of frames at another frame rate."""
        return max(1, round(self.seconds * rate))

    @cached_property
    def last_picture(self) -> Image.Image:
        """Its last frame: RGB, upright.

        Raises:
            InvalidInput: It cannot be decoded.
        """
        reader = self.open(self.seconds)
        try:
            return reader.read(FramePosition(seconds=self.seconds))[1]
        finally:
            reader.close()

    @cached_property
    def origin(self) -> VideoOrigin:
        """What the file says about itself; nothing else may read the file meanwhile."""
        return read_origin(self.file)

    def read_sound(self) -> Sound:
        """Read the audio track, from the first frame on and at most ``MAX_AUDIO_SECONDS`` long.

        Raises:
            InvalidInput: The audio track cannot be read.
        """
        return shifted(read_sound(self.file, self.field_name, max_seconds=0.0), self.sound_delay)

    def find_cuts(self, last: FramePosition, check_cancelled: Callable[[], None]) -> None:
        """Find the cuts up to a position, in a decoder process that decodes the video once.

        Args:
            last: The position.
            check_cancelled: Called while frames are decoded; may raise.

        Raises:
            InvalidInput: The video cannot be decoded.
        """
        options = {"number": last.number, "seconds": last.seconds}
        job = {"task": "video_cuts", "name": self.name, "field": self.field_name, "options": options}
        work = self.decoding_limits(self.frames * COMPARISON_SECONDS)
        with stopped_by(check_cancelled):
            try:
                reply, _ = pool.run(job, self.file, work, keep=False)  # without what only this task imports
            except DecodingFailed as error:
                reply = self.failure(error)
        if "error" in reply:
            raise InvalidInput(reply["error"], reply["field"])
        self.cuts[:] = [Cut(**cut) for cut in reply["cuts"]]

    def decoding_limits(self, seconds: float = 0.0) -> Limits:
        """Return limits that are enough to decode the whole video slowly.

        Args:
            seconds: Processor time of other work.
        """
        pixels = self.picture.width * self.picture.height * self.frames
        seconds += VIDEO_STEP_SECONDS + pixels / SLOWEST_DECODING
        return replace(limits("video", 0), seconds=seconds, wall_seconds=5 * seconds)

    def failure(self, error: DecodingFailed) -> dict[str, Any]:
        """Log why frames could not be decoded, and return the reply that says so."""
        if error.trace:
            logger.warning("a frame could not be decoded: %s", error.trace)
        name = self.field_name
        return {"error": f"{name} ({self.name}) {SENTENCES['video'][error.reason]}", "field": name}


def read_video(source: Any, field: str = FIELD) -> Video:
    """Check a video file and read its first frame.

    Args:
        source: A path, the bytes of a file, an open file, or a ``Video``.
        field: The request's field, for errors.

    Raises:
        InvalidInput: The file cannot be read as a video, or is too large or too long.
    """
    if isinstance(source, Video):
        return source
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise InvalidInput(f"{field} is empty (0 bytes). Provide a video file.", field)
        return _check(shared_file(source), f"{len(source)} bytes", field)
    if isinstance(source, (str, Path)):
        return _check(open_file(source, field, "video"), repr(str(source)), field)
    if hasattr(source, "fileno"):
        return _check(source, "file", field)
    raise InvalidInput(f"{field} must be a path or the bytes of a file, not {type(source).__name__}.", field)


def _check(file: BinaryIO, name: str, field: str) -> Video:
    try:
        reply, pixels = decode("video", file, name, field)
    except BaseException:
        file.close()
        raise
    length = {key: reply[key] for key in ("frames", "seconds", "has_sound", "sound_delay")}
    warnings = _warnings(reply, field)
    return Video(file, name, as_picture(reply, pixels), **length, warnings=warnings, field_name=field)


def _warnings(reply: dict[str, Any], field: str) -> tuple[str, ...]:
    warnings = []
    if reply["is_incomplete"]:
        warnings.append(
            f"{field}: the end of the file is missing. Its first {reply['seconds']:.1f} seconds are used."
        )
    if reply["is_damaged"]:
        warnings.append(f"{field}: {DAMAGED}")
    if reply["parts"] > 1:
        warnings.append(
            f"{field}: the file contains {reply['parts']} videos that were joined. The first one is used."
        )
    return tuple(warnings)


class VideoReader:
    """Reads frames of a video in a process of its own, which decodes the video once, going forward.

    An earlier position starts again at the beginning. Memory does not depend on the length of the video.

    Args:
        video: The video.
        start: No earlier frame is read: seconds after the first frame.

    Attributes:
        warnings: What could not be decoded up to the last position, one sentence each.
    """

    def __init__(self, video: Video, start: float = 0.0) -> None:
        self._start = start
        self.warnings: tuple[str, ...] = ()
        self._video = video
        self._key = secrets.token_hex(8)
        self._decoder: DecoderProcess | None = None
        self._last: tuple[int, Image.Image] | None = None

    def read(
        self, position: FramePosition, check_cancelled: Callable[[], None] | None = None
    ) -> tuple[int, Image.Image]:
        """Read the frame at a position; after the end, the last frame.

        Args:
            position: The position.
            check_cancelled: Called while the frame is decoded; may raise. None: the caller's check.

        Returns:
            The frame's number and the frame, RGB and upright.

        Raises:
            InvalidInput: The video cannot be decoded.
        """
        options = {"key": self._key, "number": position.number, "seconds": position.seconds}
        options |= {"known": None if self._last is None else self._last[0], "start": self._start}
        field = self._video.field_name
        job = {"task": "video_frame", "name": self._video.name, "field": field, "options": options}
        with nullcontext() if check_cancelled is None else stopped_by(check_cancelled):
            reply, pixels = self._run(job)
        if "error" in reply:
            raise InvalidInput(reply["error"], reply["field"])
        if reply["is_damaged"] and not self._video.warnings:  # else they say it already
            self.warnings = (f"{field}: {DAMAGED}",)
        if self._last is None or reply["number"] != self._last[0]:
            self._last = reply["number"], as_picture(reply, pixels)
        return self._last

    def close(self) -> None:
        """End the process."""
        if self._decoder is not None:
            self._decoder.end()
            self._decoder = None

    def _run(self, job: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
        step = self._video.decoding_limits()
        if self._decoder is not None and self._decoder.has_ended:  # such as by a system without memory
            self.close()
        while True:
            decoder = self._decoder or pool.take()
            self._decoder = None  # unless it stays usable
            try:
                result = decoder.run(job, self._video.file, step)
            except DecodingFailed as error:
                if error.reason == "idle":
                    continue
                return self._video.failure(error), np.empty(0)
            self._decoder = decoder
            return result

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()
