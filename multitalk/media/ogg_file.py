"""The pages of Ogg files: chained streams, and pages that are damaged or cut.

Reference: RFC 3533.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

HEADER = struct.Struct("<4sBBqIIIB")  # magic, version, flags, granule, serial, sequence, checksum, segments
FLAGS, CHECKSUM = 5, 22  # offsets
FIRST, LAST = 2, 4  # flags
MAGIC, VORBIS = b"OggS", b"\x01vorbis"
LONGEST_BLOCK = 8192  # samples of a packet of Vorbis
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass
class OggLink:
    """One of the streams that are chained in a file, usually the only one.

    Attributes:
        data: The pages, a complete Ogg file.
        samples: Length of Vorbis audio by its last page; None if it is unknown, or the format is another one.
    """

    data: bytearray = field(default_factory=bytearray)
    samples: int | None = None


@dataclass
class OggFile:
    """The pages of a file.

    Attributes:
        links: The streams that are chained.
        is_damaged: Whether pages are damaged or missing.
        is_incomplete: Whether the end of the file is missing.
    """

    links: list[OggLink] = field(default_factory=list)
    is_damaged: bool = False
    is_incomplete: bool = False


def split_ogg(data: bytes) -> OggFile:
    """Split an Ogg file into its chained streams.

    A page whose checksum is wrong gets the right one, since a decoder would drop all of its packets, up to a
    second or more, for one wrong bit. Of a page that is cut, the complete packets are kept. The last page of
    Vorbis is not marked as the last one: FFmpeg would remove samples from the end of a short file.
    """
    file = OggFile()
    position, after_data = 0, True
    last: dict[int, tuple[int, int]] = {}  # sequence and granule of the last page, by stream
    vorbis: set[int] = set()  # streams
    while (found := data.find(MAGIC, position)) >= 0:
        length = _page_length(data, found)
        following = data.find(MAGIC, found + 1) if length is None else found + length
        if length is None:
            page = None if following >= 0 else _cut_page(data, found, last)
        else:
            page = _with_checksum(data[found:following])
        file.is_damaged |= found > position or (following >= 0 and page != data[found:following])
        file.is_incomplete |= following < 0
        position = following if following >= 0 else len(data)
        if page is None:
            continue
        flags, granule, serial, sequence = HEADER.unpack_from(page)[2:6]
        if not file.links or (flags & FIRST and after_data):
            file.links.append(OggLink())
            last.clear()
            vorbis.clear()
        after_data = not flags & FIRST
        file.is_damaged |= serial in last and last[serial][0] + 1 != sequence
        last[serial] = sequence, granule
        if flags & FIRST and VORBIS in page[: HEADER.size + 16]:
            vorbis.add(serial)
        if flags & LAST and serial in vorbis:
            file.links[-1].samples = granule
            page = _with_checksum(page[:FLAGS] + bytes([flags & ~LAST]) + page[FLAGS + 1 :])
        file.links[-1].data += page
    return file


def _page_length(data: bytes, start: int) -> int | None:
    """Return the length of a page in bytes; None if it is cut, or damaged so that its length is unknown."""
    segments = data[start + HEADER.size - 1] if start + HEADER.size <= len(data) else 0
    length = HEADER.size + segments + sum(data[start + HEADER.size : start + HEADER.size + segments])
    end = start + length
    if not segments or end > len(data):
        return None
    page = data[start:end]
    return length if end == len(data) or data.startswith(MAGIC, end) or _with_checksum(page) == page else None


def _cut_page(data: bytes, start: int, last: dict[int, tuple[int, int]]) -> bytes | None:
    """Return the last page of a cut file with its complete packets; None if there are none."""
    if start + HEADER.size > len(data):
        return None
    magic, version, flags, _, serial, sequence, _, segments = HEADER.unpack_from(data, start)
    table = data[start + HEADER.size : start + HEADER.size + segments]
    content = data[start + HEADER.size + segments :]
    kept = size = kept_size = 0
    for index, length in enumerate(table):
        size += length
        if size > len(content):
            break
        if length < 255:  # the end of a packet
            kept, kept_size = index + 1, size
    if not kept:
        return None
    # The position in the header is that of the complete page: with an earlier one, no gap seems to precede
    # the packets. Without the flag, it does not remove samples from the end.
    granule = last.get(serial, (0, 0))[1]
    header = HEADER.pack(magic, version, flags & ~LAST, granule, serial, sequence, 0, kept)
    return _with_checksum(header + table[:kept] + content[:kept_size])


def _with_checksum(page: bytes) -> bytes:
    """Return a page with the checksum of its content.

    It is the CRC of zlib with the bits in the opposite order, and other values before and after it.
    """
    blank = page[:CHECKSUM] + bytes(4) + page[CHECKSUM + 4 :]
    remainder = zlib.crc32(blank.translate(REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    checksum = remainder.to_bytes(4, "big").translate(REVERSED)
    return page[:CHECKSUM] + checksum + page[CHECKSUM + 4 :]
