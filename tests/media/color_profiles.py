"""Color profiles (ICC) for the tests, and what they mean."""

from __future__ import annotations

import struct

import numpy as np

# XYZ of red, green and blue, adapted to D50
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PROPHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491))
D50 = (0.9642, 1.0, 0.8249)


def srgb_to_linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(values: np.ndarray) -> np.ndarray:
    values = np.clip(values, 0, 1)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def as_srgb(rgb: tuple[int, ...], primaries: tuple, gamma: float | None) -> np.ndarray:
    """The sRGB values of a color in another space; gamma None is the curve of sRGB."""
    values = np.array(rgb) / 255
    linear = srgb_to_linear(values) if gamma is None else values**gamma
    return 255 * linear_to_srgb(np.linalg.solve(np.array(SRGB).T, np.array(primaries).T @ linear))


def rgb_profile(primaries: tuple, gamma: float | None) -> bytes:
    """A profile of a space with three primaries."""
    tags = {name: _xyz(xyz) for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma))
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def gray_profile(gamma: float) -> bytes:
    """A profile of gray values."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def cmyk_profile(lab_of_cyan: tuple[int, int, int]) -> bytes:
    """A profile in which full cyan has this color (8-bit Lab), and the other inks make black."""
    grid = []
    for index in range(16):
        cyan, others = index & 8, index & 7
        grid += [0, 128, 128] if others else lab_of_cyan if cyan else [255, 128, 128]
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * value for value in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + bytes(grid) + identity * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _curve(gamma: float | None) -> bytes:
    if gamma is None:
        table = np.round(65535 * srgb_to_linear(np.linspace(0, 1, 1024))).astype(">u2")
        return b"curv" + bytes(4) + struct.pack(">I", 1024) + table.tobytes()
    return b"curv" + bytes(4) + struct.pack(">IHH", 1, round(gamma * 256), 0)


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"made for a test\0"
    tags = tags | {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + text,
        b"wtpt": _xyz(D50),
    }
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"none", 0x02400000, kind, space, connection)
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += _xyz(D50)[8:]
    return header.ljust(128, b"\0") + table + body
