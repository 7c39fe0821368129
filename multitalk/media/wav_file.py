"""The audio data of WAV files, whatever the sizes in their headers are."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .file_range import FileRange

RIFF_HEADER, CHUNK_HEADER = 12, 8
UNKNOWN = 0xFFFF_FFFF
# Sizes that programs write when they do not know the length: a stream, not an interrupted recording.
STREAMED = 0x7FFF_0000
TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")  # of other formats; some programs append them
PADDING = 2**20  # bytes that are searched for anything but zeros
CHUNKS_AFTER_AUDIO = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"fact", b"PEAK", b"iXML", b"smpl")
MAX_CHUNKS, LONGEST_HEADER = 1000, 2**20
SHORTEST_TAIL = 4096  # bytes after the audio that are taken for more of it; fewer are padding


@dataclass(frozen=True)
class WavPart:
    """One of the WAV files that a file consists of.

    Attributes:
        file: The part, with a correct header.
        missing: Bytes of audio that the header promises and the file does not have.
        has_wrong_length: Whether the header says that there is less audio, or none.
    """

    file: FileRange
    missing: int
    has_wrong_length: bool


def is_wav(start: bytes) -> bool:
    """Whether a file starts as a WAV file with sizes of 32 bits."""
    return start[:4] == b"RIFF" and start[8:12] == b"WAVE"


def split_wav(file: FileRange) -> list[WavPart]:
    """Find the WAV files that a file consists of: usually one, several if they were joined end to end."""
    parts = []
    start = 0
    while is_wav(file.read_at(start, RIFF_HEADER)):
        data, size = _find_data(file, start)
        end, has_wrong_length = _end_of_data(file, data, size)
        header = bytearray()
        if end > data and data - start <= LONGEST_HEADER:
            # up to the audio, with the sizes that the file really has
            header += file.read_at(start, data - start)
            struct.pack_into("<I", header, 4, min(end - start - CHUNK_HEADER, UNKNOWN))
            struct.pack_into("<I", header, len(header) - 4, min(end - data, UNKNOWN))
        missing = size - (end - data) if size < STREAMED else 0
        parts.append(WavPart(FileRange(file, start, end, bytes(header)), max(0, missing), has_wrong_length))
        start = end if is_wav(file.read_at(end, RIFF_HEADER)) else end + size % 2
    return parts


def _find_data(file: FileRange, start: int) -> tuple[int, int]:
    """Return where the audio starts, and its size by the header; the end of the file if there is none."""
    position = start + RIFF_HEADER
    for _ in range(MAX_CHUNKS):
        chunk = file.read_at(position, CHUNK_HEADER)
        if len(chunk) < CHUNK_HEADER:
            break
        size = struct.unpack_from("<I", chunk, 4)[0]
        if chunk[:4] == b"data":
            return position + CHUNK_HEADER, size
        position += CHUNK_HEADER + size + size % 2
    return file.length, 0


def _end_of_data(file: FileRange, data: int, size: int) -> tuple[int, bool]:
    """Return where the audio ends, and whether the header says less."""
    if size >= STREAMED or data + size >= file.length:
        return file.length, False
    end = data + size
    if _ends_at(file, end, end + size % 2, SHORTEST_TAIL if size else 1):
        return end, False
    return file.length, True


def _ends_at(file: FileRange, end: int, padded: int, shortest: int) -> bool:
    """Whether other chunks, another file, tags, or padding follow the audio, and not more audio."""
    if file.length - end < shortest or is_wav(file.read_at(end, RIFF_HEADER)):
        return True
    if is_wav(file.read_at(padded, RIFF_HEADER)) or _has_chunks(file, padded):
        return True
    return file.read_at(end, 16).startswith(TAGS) or not any(file.read_at(end, PADDING))


def _has_chunks(file: FileRange, position: int) -> bool:
    """Whether a known chunk, or nothing but chunks with printable names, follows."""
    if file.read_at(position, 4) in CHUNKS_AFTER_AUDIO:
        return True
    for _ in range(MAX_CHUNKS):
        chunk = file.read_at(position, CHUNK_HEADER)
        if len(chunk) < CHUNK_HEADER:
            break
        if not all(0x20 <= byte < 0x7F for byte in chunk[:4]):
            return False
        size = struct.unpack_from("<I", chunk, 4)[0]
        position += CHUNK_HEADER + size + size % 2
    return position <= file.length + 1
