"""Cartoon faces whose mouths open and widen as they are told; everything follows from a seed.

All lengths are in units of half a face's width, so that a face looks the same at every size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]

SUPERSAMPLING = 3
HEIGHT = 160  # pixels of the pictures that the networks learn from
HELD_OUT_SEED = 1_000_000  # faces from here on are never trained on

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
LIPS: Color = (168, 44, 54)
MOUTH_INSIDE: Color = (34, 8, 14)


@dataclass(frozen=True)
class Face:
    """One person's looks and place in the picture."""

    center: tuple[float, float]  # pixels of the training size
    unit: float  # half of the face's width, in the same pixels
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
        """Where the mouth can be, head bob included: left, top, right, bottom in pixels."""
        x, y = self.center
        return (
            round(x - 0.62 * self.unit),
            round(y + 0.28 * self.unit),
            round(x + 0.62 * self.unit),
            round(y + 1.12 * self.unit),
        )


@dataclass(frozen=True)
class Scene:
    """A picture: a background and one or two people, left to right."""

    height: int
    width: int
    top: Color
    bottom: Color
    spots: tuple[tuple[float, float, float], ...]  # x, y, radius as shares of width, height, height
    faces: tuple[Face, ...]


@dataclass(frozen=True)
class Motion:
    """What a person's face does, one value per frame."""

    opening: np.ndarray  # 0 shut .. 1 wide open
    spread: np.ndarray  # -1 rounded .. 1 wide
    blink: np.ndarray  # 0 open .. 1 shut
    start: float = 0.0  # seconds; where in the head's bob the clip begins


def _choose(random: np.random.Generator, options: tuple) -> tuple | str:
    return options[int(random.integers(len(options)))]


def make_face(random: np.random.Generator, x: float, y: float, unit: float) -> Face:
    """Draw a person's looks from a random generator."""
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
    """Draw a scene from a seed; the same seed gives the same scene at every size."""
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
    """Blinks of five frames, two to five seconds apart."""
    blink = np.zeros(frames + 8, np.float32)
    at = int(random.integers(0, 90))
    while at < frames:
        blink[at : at + 5] = (0.5, 1.0, 1.0, 0.7, 0.3)
        at += int(random.integers(50, 125))
    return blink[:frames]


def _shade(color: Color, factor: float) -> Color:
    red, green, blue = (min(255, max(0, round(value * factor))) for value in color)
    return red, green, blue


class _Brush:
    """Draws in a face's own units on a supersampled canvas."""

    def __init__(self, canvas: Image.Image, x: float, y: float, unit: float) -> None:
        self.draw = ImageDraw.Draw(canvas)
        self.x, self.y, self.unit = x, y, unit

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Color | None, outline: float = 0
    ) -> None:
        left, top = self.x + (x - rx) * self.unit, self.y + (y - ry) * self.unit
        box = (left, top, left + 2 * rx * self.unit, top + 2 * ry * self.unit)
        if outline:
            self.draw.ellipse(box, outline=fill, width=max(1, round(outline * self.unit)))
        else:
            self.draw.ellipse(box, fill=fill)

    def polygon(self, points: list[tuple[float, float]], fill: Color) -> None:
        self.draw.polygon([(self.x + x * self.unit, self.y + y * self.unit) for x, y in points], fill=fill)

    def line(self, points: list[tuple[float, float]], fill: Color, width: float) -> None:
        places = [(self.x + x * self.unit, self.y + y * self.unit) for x, y in points]
        self.draw.line(places, fill=fill, width=max(1, round(width * self.unit)), joint="curve")


def _draw_hair_behind(brush: _Brush, face: Face) -> None:
    hair = face.hair
    if face.hair_style == "long":
        brush.ellipse(0, -0.15, 1.28, 1.3, hair)
        brush.polygon([(-1.28, -0.15), (1.28, -0.15), (1.2, 1.55), (-1.2, 1.55)], hair)
    elif face.hair_style == "bun":
        brush.ellipse(0, -1.42, 0.42, 0.38, hair)
        brush.ellipse(0, -0.25, 1.12, 1.12, hair)
    elif face.hair_style == "curly":
        for angle in np.linspace(math.pi * 0.92, math.pi * 2.08, 9):
            brush.ellipse(1.0 * math.cos(angle), -0.2 + 1.0 * math.sin(angle), 0.42, 0.42, hair)
    elif face.hair_style != "bald":
        brush.ellipse(0, -0.22, 1.1, 1.14, hair)


def _draw_hair_front(brush: _Brush, face: Face) -> None:
    if face.hair_style == "bald":
        return
    top = -face.face_height
    if face.hair_style == "parted":
        points = [
            (-1.03, -0.3),
            (-0.95, -0.85),
            (-0.4, top - 0.06),
            (0.4, top - 0.06),
            (0.95, -0.85),
            (1.03, -0.3),
        ]
        points += [(0.8, -0.62), (-0.3, -0.98), (-0.82, -0.5)]
    else:
        points = [
            (-1.03, -0.35),
            (-0.95, -0.85),
            (-0.4, top - 0.06),
            (0.4, top - 0.06),
            (0.95, -0.85),
            (1.03, -0.35),
        ]
        points += [(0.84, -0.7), (0.3, -0.8), (-0.3, -0.8), (-0.84, -0.7)]
    brush.polygon(points, face.hair)


def _draw_eyes(brush: _Brush, face: Face, blink: float) -> None:
    line = _shade(face.skin, 0.45)
    for side in (-1, 1):
        x, y = side * face.eye_distance, -0.2
        width, height = 0.21 * face.eye_size, 0.19 * face.eye_size * max(0.0, 1 - blink)
        if height > 0.03:
            brush.ellipse(x, y, width, height, (252, 252, 252))
            iris = min(0.125 * face.eye_size, height)
            brush.ellipse(x, y, 0.125 * face.eye_size, iris, face.eye)
            brush.ellipse(x, y, 0.065 * face.eye_size, iris * 0.55, (20, 18, 22))
            brush.ellipse(x + 0.05, y - 0.06, 0.035, min(0.035, height * 0.3), (255, 255, 255))
        arc = [
            (x + width * 1.08 * t, y - height * math.sqrt(max(0.0, 1 - t * t))) for t in np.linspace(-1, 1, 9)
        ]
        brush.line(arc, line, 0.05)
        brow = y - face.brow_height
        brush.line(
            [(x - 0.24, brow + 0.03), (x, brow - 0.04), (x + 0.24, brow + 0.03)], _shade(face.hair, 0.8), 0.08
        )
        if face.glasses:
            brush.ellipse(x, y, 0.33, 0.31, (52, 52, 60), outline=0.05)
    if face.glasses:
        brush.line(
            [(-face.eye_distance + 0.33, -0.22), (face.eye_distance - 0.33, -0.22)], (52, 52, 60), 0.05
        )


def _draw_mouth(brush: _Brush, face: Face, opening: float, spread: float) -> None:
    half_width = face.mouth_width * (1 + 0.2 * spread) * (1 - 0.12 * opening)
    half_height = 0.015 + 0.2 * opening
    y = 0.58 + 0.08 * opening
    angles = np.linspace(0, 2 * math.pi, 28, endpoint=False)

    def outline(rx: float, ry: float) -> list[tuple[float, float]]:
        return [
            (rx * math.copysign(abs(math.cos(a)) ** 0.8, math.cos(a)), y + ry * math.sin(a)) for a in angles
        ]

    brush.polygon(outline(half_width + 0.07, half_height + 0.085), LIPS)
    brush.polygon(outline(half_width - 0.02, half_height), MOUTH_INSIDE)


def _draw_person(canvas: Image.Image, face: Face, motion: Motion, frame: int) -> None:
    time = motion.start + frame / 25
    across, down, slow, fast = face.bob
    x = face.center[0] + face.unit * across * math.sin(2 * math.pi * slow * time + face.phase)
    y = face.center[1] + face.unit * down * math.sin(2 * math.pi * fast * time + 2 * face.phase)
    scale = SUPERSAMPLING
    body = _Brush(canvas, face.center[0] * scale, face.center[1] * scale, face.unit * scale)
    head = _Brush(canvas, x * scale, y * scale, face.unit * scale)
    opening = float(motion.opening[frame])
    _draw_hair_behind(head, face)
    body.ellipse(0, 2.75, 1.6, 1.3, face.shirt)
    body.polygon([(-0.36, 0.7), (0.36, 0.7), (0.42, 1.62), (-0.42, 1.62)], _shade(face.skin, 0.86))
    body.ellipse(0, 1.6, 0.43, 0.2, _shade(face.skin, 0.86))
    for side in (-1, 1):
        head.ellipse(side * 1.0, 0.0, 0.17, 0.24, _shade(face.skin, 0.93))
    head.ellipse(0, 0.04 * opening, 1.0, face.face_height + 0.04 * opening, face.skin)
    for side in (-1, 1):
        head.ellipse(side * 0.62, 0.3, 0.17, 0.13, _blush(face.skin))
    head.line([(0.02, -0.05), (0.1, 0.2), (-0.06, 0.23)], _shade(face.skin, 0.78), 0.055)
    _draw_hair_front(head, face)
    _draw_eyes(head, face, float(motion.blink[frame]))
    _draw_mouth(head, face, opening, float(motion.spread[frame]))


def _blush(skin: Color) -> Color:
    red, green, blue = skin
    return min(255, red + 6), round(green * 0.88), round(blue * 0.88)


def draw_background(scene: Scene) -> Image.Image:
    """A gradient with a few lighter discs, supersampled."""
    height, width = scene.height * SUPERSAMPLING, scene.width * SUPERSAMPLING
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    colors = (1 - ramp) * np.array(scene.top, np.float32) + ramp * np.array(scene.bottom, np.float32)
    canvas = Image.fromarray(np.broadcast_to(colors.astype(np.uint8), (height, width, 3)).copy())
    draw = ImageDraw.Draw(canvas)
    for x, y, radius in scene.spots:
        place = (x * width - radius * height, y * height - radius * height)
        draw.ellipse(
            (*place, place[0] + 2 * radius * height, place[1] + 2 * radius * height),
            fill=_shade(scene.top, 1.06),
        )
    return canvas


def draw_frames(scene: Scene, motions: tuple[Motion, ...], frames: range | None = None) -> np.ndarray:
    """Draw a scene in motion.

    Args:
        scene: What is drawn.
        motions: One per face.
        frames: Which frames of the motions; None draws all.

    Returns:
        ``T H W 3`` uint8.
    """
    frames = frames if frames is not None else range(len(motions[0].opening))
    background = draw_background(scene)
    drawn = np.empty((len(frames), scene.height, scene.width, 3), np.uint8)
    for index, frame in enumerate(frames):
        canvas = background.copy()
        for face, motion in zip(scene.faces, motions, strict=True):
            _draw_person(canvas, face, motion, frame)
        drawn[index] = np.asarray(canvas.reduce(SUPERSAMPLING))
    return drawn


def still(scene: Scene) -> np.ndarray:
    """The scene at rest, mouths shut: ``H W 3`` uint8."""
    zero = np.zeros(1, np.float32)
    return draw_frames(scene, tuple(Motion(zero, zero, zero) for _ in scene.faces))[0]
