"""Scenes of one or two cartoon people; everything is derived from a seed.

Lengths are in units of half a face's width, so that a face has the same proportions at every size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Color = tuple[int, int, int]

HEIGHT = 160  # pixels, of training images
HELD_OUT_SEED = 1_000_000  # scenes from this seed on are not used in training

SKINS: tuple[Color, ...] = (
    (255, 219, 188), (247, 202, 166), (238, 186, 146), (226, 168, 126), (209, 148, 106), (188, 126, 86),
    (166, 108, 74), (250, 210, 190),
)  # fmt: skip
HAIRS: tuple[Color, ...] = (
    (46, 34, 30), (82, 54, 36), (126, 82, 46), (196, 150, 84), (226, 192, 124), (158, 66, 38),
    (150, 150, 156), (92, 60, 110),
)  # fmt: skip
EYES: tuple[Color, ...] = ((70, 110, 170), (86, 132, 84), (104, 68, 42), (58, 46, 44), (90, 130, 140))
SHIRTS: tuple[Color, ...] = (
    (70, 110, 170), (190, 84, 74), (88, 150, 110), (214, 170, 80), (120, 96, 160), (90, 96, 110),
    (222, 222, 214),
)  # fmt: skip
BACKGROUNDS: tuple[Color, ...] = (
    (204, 224, 236), (236, 220, 200), (206, 230, 208), (226, 210, 234), (246, 232, 190), (190, 206, 220),
    (232, 200, 196), (180, 204, 196), (150, 170, 200), (214, 214, 214),
)  # fmt: skip
HAIR_STYLES = ("short", "long", "bun", "curly", "parted", "bald")


@dataclass(frozen=True)
class Face:
    """Appearance of a person, and their position in the image."""

    center: tuple[float, float]  # x, y in pixels
    unit: float  # half of the face's width in pixels
    skin: Color
    hair: Color
    hair_style: str
    eye: Color
    shirt: Color
    glasses: bool
    eye_size: float
    eye_distance: float
    brow_height: float
    mouth_width: float
    face_height: float
    bob: tuple[float, float, float, float]  # amplitude x, amplitude y (units), two frequencies (hertz)
    phase: float

    @property
    def mouth_box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the area that the moving mouth can reach, in pixels."""
        x, y = self.center
        return (
            round(x - 0.62 * self.unit),
            round(y + 0.28 * self.unit),
            round(x + 0.62 * self.unit),
            round(y + 1.12 * self.unit),
        )


@dataclass(frozen=True)
class Scene:
    """An image: a background and one or two people, left to right."""

    height: int
    width: int
    top: Color
    bottom: Color
    spots: tuple[tuple[float, float, float], ...]  # x, y, radius as shares of width, height, height
    faces: tuple[Face, ...]


@dataclass(frozen=True)
class Motion:
    """Motion of a face, one value per frame."""

    opening: np.ndarray  # 0 shut .. 1 wide open
    spread: np.ndarray  # -1 rounded .. 1 wide
    blink: np.ndarray  # 0 open .. 1 shut
    start: float = 0.0  # seconds: phase of the head's motion at the first frame


def _choose(random: np.random.Generator, options: tuple) -> tuple | str:
    return options[int(random.integers(len(options)))]


def make_face(random: np.random.Generator, x: float, y: float, unit: float) -> Face:
    """Create a random person."""
    return Face(
        center=(x, y),
        unit=unit,
        skin=_choose(random, SKINS),
        hair=_choose(random, HAIRS),
        hair_style=_choose(random, HAIR_STYLES),
        eye=_choose(random, EYES),
        shirt=_choose(random, SHIRTS),
        glasses=bool(random.random() < 0.25),
        eye_size=random.uniform(0.9, 1.15),
        eye_distance=random.uniform(0.36, 0.44),
        brow_height=random.uniform(0.3, 0.38),
        mouth_width=random.uniform(0.34, 0.42),
        face_height=random.uniform(1.12, 1.24),
        bob=(
            random.uniform(0.0, 0.05),
            random.uniform(0.01, 0.05),
            random.uniform(0.2, 0.5),
            random.uniform(0.3, 0.7),
        ),
        phase=random.uniform(0, 2 * math.pi),
    )


def make_scene(seed: int, people: int = 1, height: int = HEIGHT, width: int | None = None) -> Scene:
    """Create a random scene; a seed gives the same scene at every size."""
    random = np.random.default_rng([seed, people])
    width = width or (height if people == 1 else height * 3 // 2)
    column = width / people
    faces = []
    for person in range(people):
        unit = height * (random.uniform(0.235, 0.29) if people == 1 else random.uniform(0.215, 0.25))
        x = column * (person + 0.5) + height * random.uniform(-0.05, 0.05) / people
        faces.append(make_face(random, x, height * random.uniform(0.46, 0.53), unit))
    top, bottom = _choose(random, BACKGROUNDS), _choose(random, BACKGROUNDS)
    spots = tuple(
        (random.uniform(0, 1), random.uniform(0, 1), random.uniform(0.08, 0.3))
        for _ in range(int(random.integers(0, 4)))
    )
    return Scene(height, width, top, bottom, spots, tuple(faces))


def make_blinks(random: np.random.Generator, frames: int) -> np.ndarray:
    """Create blinks of five frames, two to five seconds apart."""
    blink = np.zeros(frames + 8, np.float32)
    at = int(random.integers(0, 90))
    while at < frames:
        blink[at : at + 5] = (0.5, 1.0, 1.0, 0.7, 0.3)
        at += int(random.integers(50, 125))
    return blink[:frames]
