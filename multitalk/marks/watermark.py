"""An imperceptible watermark in the frames, and its detector; both run on a CPU, without a model.

A spread-spectrum mark as in Kalker et al., "A video watermarking system for broadcast monitoring" (1999):
a faint pattern of noise, repeated like tiles, is added to the brightness of every frame. One part of the
pattern is constant and names this project; the others are the same noise for everyone, too, and the distances
by which they are shifted are the payload. Cropped frames still contain the pattern, and the distances are the
same in all of them, so that the detector adds up the frames of a video. Measured in docs/WATERMARK.md.

The pattern is not secret: whoever reads this file can remove or forge the mark.
"""

from __future__ import annotations

import binascii
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np

NAME = b"MultiTalk"  # makes the pattern, and is in the check sum
BITS = 32
TILE, CELL = 256, 4  # pixels: the pattern's period, and the step of the shifts
POSITIONS = TILE // CELL  # per direction: 12 bits per shifted part
SHIFTED = 4  # parts: 48 bits, of which 16 are the check sum
BAND = 0.2, 0.45  # cycles per cell: lower ones are visible, higher ones are lost in the encoder
# The pattern grows with the frame, so that resizing a video keeps the scale that the detector tries first.
UNIT_SIDE = 632.0  # square root of a 832x480 frame's pixels
MIN_SCALE = 0.5
# Amplitude in levels of 255: more where the frame has texture that hides it.
FLAT_GAIN, TEXTURE_GAIN, TEXTURE_SLOPE = 0.65, 1.95, 0.325
MAX_RMS = 1.85  # of a frame: 42.5 dB
WHITENING = 0.7
# Scales that the detector tries, for frames that were cropped, or resized below MIN_SCALE.
SCALE_STEP, MAX_RESCALE = 1.004, 1.7
# Correlation peaks in standard deviations: below, the search for a scale goes on.
MIN_SYNC, MIN_TOTAL = 4.0, 24.0
MAX_FRAMES = 64  # frames that the detector adds up
MIN_PIXELS = 20_000  # of a marked frame: 160x160 can be read, 112x64 cannot


class Watermark:
    """A mark with a job's number, for all frames of the job's files.

    Args:
        number: The number, of ``BITS`` bits.

    Example:
        >>> marked = Watermark(number_of("job-1")).embed(frames)
        >>> Watermark.detect(marked) == number_of("job-1")
    """

    def __init__(self, number: int) -> None:
        if not 0 <= number < 1 << BITS:
            raise ValueError(f"number must have {BITS} bits, not {number}")
        self.number = number
        self._tile = _tile_of(number)
        self._patterns: dict[tuple[int, int], np.ndarray] = {}

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Return marked copies of frames.

        Args:
            frames: uint8 ``T H W 3``, RGB.

        Returns:
            Frames whose difference to the given ones has a PSNR of at least 42 dB.
        """
        return np.stack([self.embed_frame(frame) for frame in frames])

    def embed_frame(self, frame: np.ndarray) -> np.ndarray:
        """Return a marked copy of one frame, ``H W 3``; see :meth:`embed`."""
        height, width = frame.shape[:2]
        gain = cv2.resize(_gain(frame), (width, height))
        change = cv2.multiply(self._pattern(height, width), gain, dtype=cv2.CV_16S)
        return cv2.add(frame, cv2.merge([change] * 3), dtype=cv2.CV_8U)

    @staticmethod
    def detect(frames: Iterable[np.ndarray]) -> int | None:
        """Return the number in the frames of a video, or in an image.

        Args:
            frames: uint8 ``H W 3`` each, RGB, of the same size: consecutive ones or a selection. Every frame
                more makes the result more reliable.

        Returns:
            The number; None if no mark is found.
        """
        residual = _residual(frames)
        if residual is None:
            return None
        first = _scale(*residual.shape)
        steps = round(math.log(MAX_RESCALE) / math.log(SCALE_STEP))
        for step in sorted(range(-steps, steps + 1), key=abs):
            found = _read(residual, first * SCALE_STEP**step)
            if found is not None and found.total >= MIN_TOTAL and found.number is not None:
                return found.number
        return None

    def _pattern(self, height: int, width: int) -> np.ndarray:
        """Return the tiled pattern of a frame ``H W``, with a standard deviation of 1."""
        if (height, width) not in self._patterns:
            scale = _scale(height, width)
            rows, columns = (math.ceil(side / scale / TILE) for side in (height, width))
            tiles = np.tile(self._tile, (rows, columns))
            offset = (scale - 1) / 2
            matrix = np.array([[scale, 0, offset], [0, scale, offset]], np.float32)
            self._patterns[height, width] = cv2.warpAffine(
                tiles, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP
            )
        return self._patterns[height, width]


def number_of(job_id: str) -> int:
    """Return the number of a job: the first bits of the SHA-256 of its id."""
    return int.from_bytes(hashlib.sha256(job_id.encode()).digest()[: BITS // 8], "big")


@cache
def _parts() -> tuple[np.ndarray, ...]:
    """Return the pattern's parts at shift 0, the constant one first: noise ``TILE TILE`` of one band."""
    cycles = np.fft.fftfreq(TILE) * CELL
    radius = np.hypot(cycles[:, None], cycles[None, :])
    low, high = BAND
    band = np.exp(-((radius / high) ** 4)) * (1 - np.exp(-((radius / low) ** 4)))
    # a hash, since the random numbers of a library may change with its version
    noise = np.frombuffer(hashlib.shake_256(NAME).digest((1 + SHIFTED) * TILE * TILE), np.uint8)
    parts = noise.reshape(1 + SHIFTED, TILE, TILE).astype(np.float64) - 127.5
    filtered = [np.fft.ifft2(np.fft.fft2(part) * band).real for part in parts]
    return tuple(part / part.std() for part in filtered)


@cache
def _spectra() -> tuple[np.ndarray, ...]:
    return tuple(np.conj(np.fft.rfft2(part)) for part in _parts())


@lru_cache(maxsize=4)
def _tile_of(number: int) -> np.ndarray:
    """Return the pattern of a number, ``TILE TILE`` float32, with a standard deviation of 1."""
    constant, *parts = _parts()
    tile = constant.copy()
    payload = number << 16 | _check_sum(number)
    for index, part in enumerate(parts):
        row, column = divmod(payload >> 12 * index & 0xFFF, POSITIONS)
        tile += np.roll(part, (row * CELL, column * CELL), (0, 1))
    return (tile / tile.std()).astype(np.float32)


def _check_sum(number: int) -> int:
    return binascii.crc_hqx(NAME + number.to_bytes(BITS // 8, "big"), 0)


def _scale(height: int, width: int) -> float:
    """Return the size of the pattern's pixels in a frame."""
    return max(math.sqrt(height * width) / UNIT_SIDE, MIN_SCALE)


def _gain(frame: np.ndarray) -> np.ndarray:
    """Return the mark's amplitude in a frame, at a quarter of its size.

    The mean of square roots counts an area of texture, but not a single edge beside a flat area, on which the
    mark would be visible.
    """
    height, width = frame.shape[:2]
    quarter = max(width // 4, 1), max(height // 4, 1)
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    smooth = cv2.resize(cv2.resize(gray, quarter, interpolation=cv2.INTER_AREA), (width, height))
    detail = cv2.resize(cv2.absdiff(gray, smooth), quarter, interpolation=cv2.INTER_AREA)
    texture = cv2.blur(np.sqrt(detail.astype(np.float32)), (5, 5)) ** 2
    gain = FLAT_GAIN + np.minimum(texture * TEXTURE_SLOPE, TEXTURE_GAIN)
    return gain * min(1.0, MAX_RMS / math.sqrt(float(np.mean(gain**2))))


@dataclass(frozen=True)
class _Reading:
    """What a scale of the search gives: the number if the check sum fits, and the sum of the peaks."""

    number: int | None
    total: float


def _residual(frames: Iterable[np.ndarray]) -> np.ndarray | None:
    """Add up what remains of frames without their content, each area with the same weight."""
    total: np.ndarray | None = None
    for count, frame in enumerate(frames):
        if count == MAX_FRAMES:
            break
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
        scale = _scale(*gray.shape)
        detail = gray - cv2.GaussianBlur(gray, (0, 0), 0.9 * CELL * scale)
        side = int(16 * scale) | 1
        deviation = np.sqrt(np.maximum(cv2.blur(detail * detail, (side, side)), 0)) + 1
        detail = np.clip(detail / deviation, -2.5, 2.5)
        if total is None:
            total = detail
        elif total.shape == detail.shape:
            total += detail
    return total


def _read(residual: np.ndarray, scale: float) -> _Reading | None:
    """Read the mark at one scale; None if the constant part is not found."""
    spectrum = np.fft.rfft2(_fold(residual, scale))
    spectrum /= np.maximum(np.abs(spectrum), 1e-9) ** WHITENING
    constant, *parts = _spectra()
    correlation = _correlate(spectrum, constant)
    peak = int(correlation.argmax())
    total = float(correlation.flat[peak])
    if total < MIN_SYNC:
        return None
    row, column = divmod(peak, TILE)
    payload = 0
    for index, part in enumerate(parts):
        shifts = np.roll(_correlate(spectrum, part), (-row, -column), (0, 1))
        # the peak of a resized frame can be one pixel beside its position
        best = cv2.dilate(shifts, np.ones((3, 3)), borderType=cv2.BORDER_REFLECT)[::CELL, ::CELL]
        position = int(best.argmax())
        total += float(best.flat[position])
        payload |= position << 12 * index
    number, check_sum = payload >> 16, payload & 0xFFFF
    return _Reading(number if check_sum == _check_sum(number) else None, total)


def _correlate(spectrum: np.ndarray, part: np.ndarray) -> np.ndarray:
    correlation = np.fft.irfft2(spectrum * part, (TILE, TILE))
    return correlation / max(float(correlation.std()), 1e-9)


def _fold(residual: np.ndarray, scale: float) -> np.ndarray:
    """Resize a residual to the pattern's scale, and add up its tiles."""
    height, width = (max(1, round(side / scale)) for side in residual.shape)
    interpolation = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    resized = cv2.resize(residual, (width, height), interpolation=interpolation)
    padded = np.pad(resized, ((0, -height % TILE), (0, -width % TILE)))
    return padded.reshape(padded.shape[0] // TILE, TILE, -1, TILE).sum((0, 2))
