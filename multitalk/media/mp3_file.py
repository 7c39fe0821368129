"""The frames of MP3 files, whatever their headers say about the length.

Reference: ISO/IEC 11172-3 and 13818-3; the Xing and LAME tags as described by LAME.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .file_range import id3_length

VERSIONS = {3: 1, 2: 2, 0: 4}  # bits of the header -> divisor of the sample rate
RATES = (44_100, 48_000, 32_000)
BITRATES = {  # kbit/s, of MPEG 1 and of MPEG 2 and 2.5
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
SYNC = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")  # layer 3
SIDE_INFORMATION = {(True, 2): 32, (True, 1): 17, (False, 2): 17, (False, 1): 9}  # bytes
LONGEST_FRAME = 1441  # bytes
DECODER_DELAY = 529  # samples
LAME_VERSIONS = (b"LAME", b"Lavf", b"Lavc")


@dataclass(frozen=True)
class Frame:
    """The header of a frame.

    Attributes:
        length: Bytes, with the header.
        samples: Samples per channel.
    """

    length: int
    samples: int
    rate: int
    channels: int


@dataclass
class Mp3Part:
    """Consecutive frames with one sample rate and channel count.

    Attributes:
        data: The frames, without tags and without what cannot be decoded.
        seconds: Their length.
    """

    rate: int
    channels: int
    data: bytearray = field(default_factory=bytearray)
    seconds: float = 0.0


@dataclass
class Mp3File:
    """The frames of a file.

    Attributes:
        parts: The frames.
        delay: Samples at the start that the encoder added.
        padding: Samples at the end that the encoder added.
        skipped: Length of what is damaged between the frames, in seconds.
        has_other_data: Whether something else follows the last frame.
        is_incomplete: Whether the end of the file is missing.
    """

    parts: list[Mp3Part] = field(default_factory=list)
    delay: int = 0
    padding: int = 0
    skipped: float = 0.0
    has_other_data: bool = False
    is_incomplete: bool = False

    @property
    def seconds(self) -> float:
        """Length of the frames."""
        return sum(part.seconds for part in self.parts)

    def add(self, content: bytes, frame: Frame) -> None:
        """Append a frame."""
        if not self.parts or (self.parts[-1].rate, self.parts[-1].channels) != (frame.rate, frame.channels):
            self.parts.append(Mp3Part(frame.rate, frame.channels))
        self.parts[-1].data += content
        self.parts[-1].seconds += frame.samples / frame.rate


@dataclass(frozen=True)
class _Info:
    """A frame without audio, which describes the file.

    Attributes:
        frames: Number of the other frames; 0 if it is unknown.
        delay: Samples at the start that the encoder and the decoder add.
        padding: Samples at the end that they add.
    """

    frames: int
    delay: int = 0
    padding: int = 0


def is_mp3(start: bytes, anywhere: bool) -> bool:
    """Whether a file starts as an MP3 file.

    Args:
        start: The first bytes, after an ID3 tag.
        anywhere: Whether other bytes may precede the first frame.
    """
    if _next_frame(start, 0, 1) is not None:
        return True
    return anywhere and any(_are_frames(start, match.start()) for match in SYNC.finditer(start))


def _are_frames(data: bytes, position: int, count: int = 4) -> bool:
    """Whether several frames follow each other, which other data does not contain by chance."""
    for _ in range(count):
        frame = parse_frame(data, position)
        if frame is None or not _is_followed(data, position, frame):
            return False
        position += frame.length
    return True


def scan_mp3(data: bytes) -> Mp3File:
    """Collect the frames of one MP3 file, or of several that were joined end to end."""
    file = Mp3File()
    infos: list[_Info] = []
    end = _without_tags(data)
    position = frames = damaged = 0
    while position < end:
        frame = _frame_at(data, position, file.parts)
        if frame is None:
            following = _next_frame(data, position + max(1, tag := _tag_length(data, position)), end)
            if following is None:
                file.has_other_data = not tag and any(data[position + LONGEST_FRAME : end])
                break
            damaged += following - position if file.parts and not tag else 0
            position = following
        elif position + frame.length > end:
            file.is_incomplete = end == len(data)
            break
        else:
            content = data[position : position + frame.length]
            if (info := _read_info(content, frame)) is not None:
                infos.append(info)
            else:
                file.add(content, frame)
                frames += 1
            position += frame.length
    if file.parts:
        file.skipped = damaged * file.seconds / sum(len(part.data) for part in file.parts)
    if infos:
        file.delay = infos[0].delay
        # with other frames than described, the padding is somewhere else
        file.padding = infos[0].padding if frames == infos[0].frames else 0
        file.is_incomplete |= len(infos) == 1 and not damaged and frames < infos[0].frames
    return file


def _frame_at(data: bytes, position: int, parts: list[Mp3Part]) -> Frame | None:
    """Parse the frame at a position; None if there is none, or it is unlike the last one by chance."""
    frame = parse_frame(data, position)
    if frame is None or not parts or (frame.rate, frame.channels) == (parts[-1].rate, parts[-1].channels):
        return frame
    return frame if _is_followed(data, position, frame) else None


def parse_frame(data: bytes, position: int) -> Frame | None:
    """Parse the header of a frame of layer 3; None if there is none at the position."""
    if len(data) < position + 4 or data[position] != 0xFF or data[position + 1] & 0xE6 != 0xE2:
        return None
    version = data[position + 1] >> 3 & 3
    bitrate, rate, padding = data[position + 2] >> 4, data[position + 2] >> 2 & 3, data[position + 2] >> 1 & 1
    if version not in VERSIONS or not 0 < bitrate < 15 or rate == 3:
        return None
    is_first = version == 3
    hertz = RATES[rate] // VERSIONS[version]
    length = (144_000 if is_first else 72_000) * BITRATES[is_first][bitrate - 1] // hertz + padding
    channels = 1 if data[position + 3] >> 6 == 3 else 2
    return Frame(length, 1152 if is_first else 576, hertz, channels)


def _next_frame(data: bytes, start: int, end: int) -> int | None:
    """Return where the next frame starts that another one follows."""
    for match in SYNC.finditer(data, start, min(len(data), end + 1)):
        frame = parse_frame(data, match.start())
        if match.start() < end and frame is not None and _is_followed(data, match.start(), frame):
            return match.start()
    return None


def _is_followed(data: bytes, position: int, frame: Frame) -> bool:
    """Whether another frame of the same kind, or the end of the data, follows a frame."""
    following = position + frame.length
    if following >= len(data):
        return following == len(data)
    other = parse_frame(data, following)
    return other is not None and (other.rate, other.samples) == (frame.rate, frame.samples)


def _read_info(content: bytes, frame: Frame) -> _Info | None:
    """Read a frame that describes the file; None if it is one of audio."""
    is_first = frame.samples == 1152
    offset = 4 + SIDE_INFORMATION[is_first, frame.channels]
    if content[36:40] == b"VBRI":
        return _Info(int.from_bytes(content[50:54], "big"))
    if content[offset : offset + 4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(content[offset + 4 : offset + 8], "big")
    frames = int.from_bytes(content[offset + 8 : offset + 12], "big") if flags & 1 else 0
    lame = offset + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    if content[lame : lame + 4] not in LAME_VERSIONS:
        return _Info(frames)
    gaps = int.from_bytes(content[lame + 21 : lame + 24], "big")
    return _Info(frames, (gaps >> 12) + DECODER_DELAY, max(0, (gaps & 0xFFF) - DECODER_DELAY))


def _tag_length(data: bytes, position: int) -> int:
    """Return the length of the tag at a position, in bytes; 0 without one."""
    if data[position : position + 3] == b"TAG":
        return 128
    if data[position : position + 8] == b"APETAGEX":
        return 32 + int.from_bytes(data[position + 12 : position + 16], "little")
    return id3_length(data[position : position + 10])


def _without_tags(data: bytes) -> int:
    """Return where the audio ends: before ID3v1, APE and Lyrics3 tags."""
    end = len(data)
    if data[end - 128 : end - 125] == b"TAG":
        end -= 128
    if data[end - 9 : end] == b"LYRICS200" and data[end - 15 : end - 9].isdigit():
        end = max(0, end - 15 - int(data[end - 15 : end - 9]))
    if data[end - 32 : end - 24] == b"APETAGEX":
        header = 32 * (data[end - 9] >> 7)
        end = max(0, end - int.from_bytes(data[end - 20 : end - 16], "little") - header)
    return end
