"""The length of a video, and whether something of it is missing, by its packets; nothing is decoded."""

from __future__ import annotations

import re
from dataclasses import dataclass

import av

from .file_range import FileRange
from .media_parts import ends_in_flv_tag, is_fragmented, is_shorter_than_header, split_media
from .video_file import Source, VideoFile

MAX_VALUES = 4 * 10**11  # pixels of all frames, such as 13 minutes of 4K at 60 frames per second
MATROSKA = "matroska,webm"
MISSING_END = 0.1  # seconds by which a track is at least shorter than the file says, if its end is missing
MISSING_PART = 1.0  # the same if the file says only its own length
DURATION = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")  # of a track in Matroska


@dataclass(frozen=True)
class VideoLength:
    """The length of a video.

    Attributes:
        frames: Number of frames.
        seconds: From the first frame to the end of the last one.
        has_sound: Whether there is an audio track.
        sound_delay: Seconds by which the audio track starts after the first frame; negative: before it.
        is_incomplete: Whether the end of the file is missing.
        is_damaged: Whether other parts of the file cannot be read.
        parts: Number of videos that were joined to this file; the first one is read.
    """

    frames: int
    seconds: float
    has_sound: bool
    sound_delay: float
    is_incomplete: bool
    is_damaged: bool
    parts: int


@dataclass
class _Packets:
    """What the packets of a track say."""

    frames: int = 0
    first: float | None = None  # seconds, like `end`
    end: float = 0.0
    is_damaged: bool = False  # before the last packet
    ends_damaged: bool = False


def measure_length(source: Source) -> VideoLength:
    """Read the packets of a video, because headers do not always say its length.

    Raises:
        InvalidInput: The file cannot be read as a video, or is too long.
    """
    video = VideoFile(source)
    try:
        packets = _read_packets(video)
        pixels = video.stream.codec_context.width * video.stream.codec_context.height
        if packets.frames * pixels > MAX_VALUES:
            raise source.error(
                f"has {packets.frames} frames of {pixels} pixels, but all frames together may have at most "
                f"{MAX_VALUES:.0e} pixels. Use a shorter or smaller video."
            )
        first, frames = packets.first, packets.frames
        sound = next((each for each in video.container.streams.audio if each.codec_context is not None), None)
        delay = 0.0
        if sound is not None and sound.start_time is not None and sound.time_base and first is not None:
            delay = float(sound.start_time * sound.time_base) - first
        parts = split_media(FileRange(source.file))
        return VideoLength(
            frames=max(frames, 1),
            seconds=frames / video.rate if first is None else packets.end - first,
            has_sound=sound is not None,
            sound_delay=delay,
            is_incomplete=packets.ends_damaged or _ends_early(video, packets, parts[0][1]),
            is_damaged=packets.is_damaged,
            parts=len(parts),
        )
    finally:
        video.close()


def _read_packets(video: VideoFile) -> _Packets:
    packets = _Packets()
    for packet in video.packets():
        if packet.is_discard or not packet.size:  # cut off by an edit list; the end
            continue
        packets.frames += 1
        packets.is_damaged |= packets.ends_damaged
        packets.ends_damaged = packet.is_corrupt
        start = packet.pts if packet.pts is not None else packet.dts
        if start is None:
            continue
        time = float(start * packet.time_base)
        seconds = float((packet.duration or 0) * packet.time_base) or 1 / video.rate
        packets.first = time if packets.first is None else min(packets.first, time)
        packets.end = max(packets.end, time + seconds)
    packets.is_damaged |= video.is_damaged
    return packets


def _ends_early(video: VideoFile, packets: _Packets, is_cut: bool) -> bool:
    """Whether a track is shorter than its file says.

    Args:
        video: The file.
        packets: Of the track.
        is_cut: Whether an MP4, MOV or Matroska file is shorter than the sizes in it.
    """
    stream, container, file = video.stream, video.container, FileRange(video.source.file)
    if tag := DURATION.match(stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = tag.groups()
        return packets.end < 3600 * int(hours) + 60 * int(minutes) + float(seconds) - MISSING_END
    length = (container.duration or 0) / av.time_base
    if container.format.name == MATROSKA and not is_cut:  # its reader jumps over damage
        return len(container.streams) == 1 and packets.end < length - MISSING_PART
    if container.format.name == "avi":
        return is_shorter_than_header(file) and packets.frames < stream.frames
    if container.format.name == "flv":
        return ends_in_flv_tag(file) and packets.end < length - MISSING_END
    if not is_cut or is_fragmented(file):  # the length of fragments is known when they are read
        return is_cut
    if stream.duration is not None:
        return packets.end < float(stream.duration * stream.time_base) - MISSING_END
    return container.duration is None or packets.end < length - MISSING_END
