"""Color spaces that a file names by code numbers (H.273: CICP, nclx), without a profile."""

from __future__ import annotations

import struct
from typing import BinaryIO

from PIL import Image

HEADER = 1 << 16  # bytes that contain a file's boxes or chunks before its pixels
# By the code of the primaries, their XYZ values relative to D50, as an ICC profile has them.
PRIMARIES = {
    9: ((0.67346, 0.27904, -0.00193), (0.16566, 0.67534, 0.02998), (0.12504, 0.04561, 0.79686)),  # BT.2020
    12: ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),  # P3
}
# Curves of standard dynamic range, which are displayed as sRGB's; unspecified, BT.709, BT.601, sRGB, BT.2020.
TRANSFERS = (1, 2, 6, 13, 14, 15)
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # parameters of ICC's function type 3
D50 = (0.9642, 1.0, 0.8249)


def add_profile(picture: Image.Image, file: BinaryIO) -> None:
    """Give an opened image the profile of the color space that its file names, unless it has a profile.

    High dynamic range (PQ, HLG) and spaces with the primaries of sRGB stay without a profile.

    Args:
        picture: The image.
        file: The same file.
    """
    if picture.info.get("icc_profile"):
        return
    primaries, transfer = _codes(picture, file)
    if primaries in PRIMARIES and transfer in TRANSFERS:
        picture.info["icc_profile"] = _profile(PRIMARIES[primaries])


def _codes(picture: Image.Image, file: BinaryIO) -> tuple[int, int]:
    """Return the codes of the primaries and of the transfer function; 2 is unspecified."""
    if named := picture.info.get("nclx_profile"):  # HEIC
        return int(named["color_primaries"]), int(named["transfer_characteristics"])
    marker, width = {"AVIF": (b"colrnclx", 2), "PNG": (b"\0\0\0\4cICP", 1)}.get(str(picture.format), (b"", 0))
    if not marker:
        return 2, 2
    position = file.tell()
    file.seek(0)
    start = file.read(HEADER)
    file.seek(position)
    at = start.find(marker) + len(marker)
    codes = start[at : at + 2 * width]
    if at < len(marker) or len(codes) < 2 * width:
        return 2, 2
    return int.from_bytes(codes[:width], "big"), int.from_bytes(codes[width:], "big")


def _profile(primaries: tuple[tuple[float, ...], ...]) -> bytes:
    """Return an ICC profile of RGB values with these primaries and sRGB's curve."""
    tags = {name: _xyz(value) for name, value in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    curve = b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, *map(_fixed, SRGB_CURVE))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve) | {b"wtpt": _xyz(D50)}
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"", 0x04000000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2000, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _xyz(D50)[8:]
    return header.ljust(128, b"\0") + table + body


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *map(_fixed, values))


def _fixed(value: float) -> int:
    return round(value * 65536)
