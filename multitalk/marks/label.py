"""A visible label in a corner of the frames, such as "AI-generated"."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import InvalidInput
from ..runtime.environment import read_text

# The default font, in a package of its own: Source Sans Pro.
FONT = "font_source_sans_pro", "files/SourceSansPro-Semibold.ttf"
SCRIPTS = "Latin, Greek or Cyrillic"
FONT_VARIABLE = "LABEL_FONT"
DEFAULT_TEXT = "AI-generated"
MAX_LENGTH = 60
CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
DEFAULT_CORNER = "bottom-right"
# Shares of a frame's shorter side, and the smallest letters that can be read.
LETTER_SIZE, MARGIN, MIN_LETTER_SIZE = 0.045, 0.025, 9
# White on this plate has a contrast of 5.7:1 above white frames; WCAG asks for 4.5:1.
PLATE_OPACITY = 0.6
# Pixels: around the plate, which encoding blurs, and of the surroundings that fill its area.
BLURRED, INPAINT_RADIUS = 4, 3


@dataclass(frozen=True)
class Label:
    """A text on a half-transparent plate in a corner of every frame.

    Attributes:
        text: One line.
        corner: A name in ``CORNERS``.
    """

    text: str = DEFAULT_TEXT
    corner: str = DEFAULT_CORNER

    def check_size(self, width: int, height: int) -> None:
        """Check that the text can be read in frames of a size.

        Raises:
            InvalidInput: The text is too long.
        """
        _plate(self.text, width, height, _font_path())

    def draw(self, frame: np.ndarray) -> np.ndarray:
        """Return a copy of a frame with the label.

        Args:
            frame: uint8 ``H W 3``, RGB.
        """
        height, width = frame.shape[:2]
        plate = _plate(self.text, width, height, _font_path())
        left, top, right, bottom = self.box(width, height)
        labeled = frame.copy()
        area = labeled[top:bottom, left:right]
        text = plate[..., None] / 255
        area[:] = area * (1 - PLATE_OPACITY) * (1 - text) + 255 * text + 0.5
        return labeled

    def remove(self, frame: np.ndarray) -> np.ndarray:
        """Return a copy of a frame, uint8 ``H W 3`` RGB, whose label is replaced by what surrounds it."""
        import cv2  # slow to import, and only needed here

        height, width = frame.shape[:2]
        left, top, right, bottom = self.box(width, height)
        mask = np.zeros((height, width), np.uint8)
        mask[max(top - BLURRED, 0) : bottom + BLURRED, max(left - BLURRED, 0) : right + BLURRED] = 1
        return cv2.inpaint(frame, mask, INPAINT_RADIUS, cv2.INPAINT_TELEA)

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of the plate in frames of a size.

        Raises:
            InvalidInput: The text is too long.
        """
        rows, columns = _plate(self.text, width, height, _font_path()).shape
        margin = round(min(width, height) * MARGIN)
        top = margin if self.corner.startswith("top") else height - margin - rows
        left = margin if self.corner.endswith("left") else width - margin - columns
        return left, top, left + columns, top + rows


def check_label_text(text: str) -> str:
    """Return a text as it is drawn: without spaces around it, its letters composed.

    Raises:
        InvalidInput: The text is empty, too long or more than one line, or the font lacks a character.
    """
    text = unicodedata.normalize("NFC", text).strip()
    if not text:
        raise InvalidInput("label has no text. Enter one, or turn the label off.", "label")
    if len(text) > MAX_LENGTH:
        raise InvalidInput(f"label must have at most {MAX_LENGTH} characters, not {len(text)}.", "label")
    if any(unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") for character in text):
        raise InvalidInput("label must be one line without control characters and invisible ones.", "label")
    missing = "".join(character for character in dict.fromkeys(text) if not _has(character))
    if missing:
        raise InvalidInput(
            f"label contains characters that the font lacks ({missing[:20]}). Use {SCRIPTS} "
            f"letters, or set {FONT_VARIABLE} to a font file that has them.",
            "label",
        )
    return text


@lru_cache(maxsize=16)
def _plate(text: str, width: int, height: int, font_path: str) -> np.ndarray:
    """Return the opacity of the text on its plate, uint8 ``h w``.

    Raises:
        InvalidInput: The text does not fit.
    """
    side = min(width, height)
    room = width - 2 * round(side * MARGIN)
    size = max(MIN_LETTER_SIZE, round(side * LETTER_SIZE))
    while True:
        font = _font(font_path, size)
        ascent, descent = font.getmetrics()
        padding = max(2, size // 3)
        columns = round(font.getlength(text)) + 2 * padding
        if columns <= room:
            break
        if size == MIN_LETTER_SIZE:
            raise InvalidInput(
                f"label is too long for a video of {width}x{height} pixels ({len(text)} characters). Use at "
                f"most {max(1, len(text) * (room - 2 * padding) // (columns - 2 * padding))} characters.",
                "label",
            )
        size -= 1
    plate = Image.new("L", (columns, ascent + descent + padding))
    ImageDraw.Draw(plate).text((padding, padding // 2), text, fill=255, font=font)
    return np.asarray(plate)


def _font_path() -> str:
    """Return the path of the deployer's font, or of the default one."""
    return read_text(FONT_VARIABLE, str(resources.files(FONT[0]) / FONT[1]))


@cache
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """Load a font.

    Raises:
        InvalidInput: It cannot be read.
    """
    try:
        return ImageFont.truetype(path, size)
    except OSError:
        raise InvalidInput(f"{FONT_VARIABLE} must be a font file, not {path[:200]!r}.") from None


def _has(character: str) -> bool:
    """Whether the font has a character; fonts draw the same box for all that they lack."""
    font = _font(_font_path(), 24)
    return character == " " or bytes(font.getmask(character)) != bytes(font.getmask("\U0010fffe"))
