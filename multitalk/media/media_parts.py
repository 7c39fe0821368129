"""Files that were joined, and files whose end is missing, by the sizes in them."""

from __future__ import annotations

from collections.abc import Iterator

from .file_range import FileRange

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # that a file starts with
MAX_BOXES = 100_000
MAX_TAGS = 1_000_000


def split_media(file: FileRange) -> list[tuple[FileRange, bool]]:
    """Split a file at the start of each MP4 or MOV file in it.

    Returns:
        The parts, and whether each is shorter than its outermost elements say. A file of another format is
        one part.
    """
    if file.read_at(0, 4) == EBML:
        return [(file, _is_cut_matroska(file))]
    if file.read_at(4, 4) not in BOXES:
        return [(file, False)]
    boxes = list(_boxes(file))
    starts = [0, *(start for kind, start, _ in boxes if kind == b"ftyp" and start)]
    ends = [*starts[1:], file.length]
    parts = [FileRange(file, start, end) for start, end in zip(starts, ends, strict=True)]
    is_cut = boxes[-1][2] > file.length
    return [(part, is_cut and part is parts[-1]) for part in parts]


def lacks_index(file: FileRange) -> bool:
    """Whether an MP4 or MOV file lacks the box that says where its tracks are, which recorders write last."""
    return file.read_at(4, 4) in BOXES and all(kind != b"moov" for kind, _, _ in _boxes(file))


def is_fragmented(file: FileRange) -> bool:
    """Whether an MP4 or MOV file consists of fragments, as of a recording or a stream."""
    return any(kind == b"moof" for kind, _, _ in _boxes(file))


def ends_in_flv_tag(file: FileRange) -> bool:
    """Whether the end of an FLV file is missing: its last tag is longer than the file."""
    position = int.from_bytes(file.read_at(5, 4), "big") + 4
    for _ in range(MAX_TAGS):
        header = file.read_at(position, 4)
        if len(header) < 4:
            return position != file.length
        position += 11 + int.from_bytes(header[1:], "big") + 4  # the size of the tag follows it
    return False


def _boxes(file: FileRange) -> Iterator[tuple[bytes, int, int]]:
    """Iterate over a file's outermost boxes: the kind, the start, and the end, which may be missing."""
    position = 0
    for _ in range(MAX_BOXES):
        header = file.read_at(position, 16)
        if len(header) < 8:
            return
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        start = position
        if size >= 8:  # otherwise, up to the end of the file (0), or not a box
            position += size
        yield header[4:8], start, position
        if size < 8:
            return


def is_shorter_than_header(file: FileRange) -> bool:
    """Whether the end of an AIFF, AU, AVI, W64 or RF64 file is missing; False for other formats."""
    start = file.read_at(0, 32)
    length = 0
    if start.startswith(b"FORM"):
        length = 8 + int.from_bytes(start[4:8], "big")
    elif start.startswith(b"RIFF") and start[8:11] == b"AVI":
        length = 8 + int.from_bytes(start[4:8], "little")
    elif start.startswith(b".snd") and start[8:12] != b"\xff\xff\xff\xff":
        length = int.from_bytes(start[4:8], "big") + int.from_bytes(start[8:12], "big")
    elif start.startswith(b"riff"):
        length = int.from_bytes(start[16:24], "little")
    elif start[:4] in (b"RF64", b"BW64") and start[12:16] == b"ds64":
        length = 8 + int.from_bytes(start[20:28], "little")
    return length > file.length


def _is_cut_matroska(file: FileRange) -> bool:
    size, length = _number(file.read_at(4, 8))
    position = 4 + length + size
    if file.read_at(position, 4) != SEGMENT:
        return False
    size, length = _number(file.read_at(position + 4, 8))
    is_unknown = size == 2 ** (7 * length) - 1  # of a recording, which was not known to end
    return not is_unknown and position + 4 + length + size > file.length


def _number(data: bytes) -> tuple[int, int]:
    """Read EBML's number of variable length; return it and its length in bytes."""
    length = 9 - data[0].bit_length() if data and data[0] else 1
    value = int.from_bytes(data[:length], "big")
    return value & (2 ** (7 * length) - 1), length
