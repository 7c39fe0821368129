"""Draws scenes: cartoon faces whose mouths open and widen."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from .scenes import Color, Face, Motion, Scene

SUPERSAMPLING = 3
MOUTH_INSIDE: Color = (34, 8, 14)
LIPS: Color = (168, 44, 54)


def _shade(color: Color, factor: float) -> Color:
    red, green, blue = (min(255, max(0, round(value * factor))) for value in color)
    return red, green, blue


class _Brush:
    """Draws in units of a face on a supersampled canvas."""

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
        side, fringe = -0.3, [(0.8, -0.62), (-0.3, -0.98), (-0.82, -0.5)]
    else:
        side, fringe = -0.35, [(0.84, -0.7), (0.3, -0.8), (-0.3, -0.8), (-0.84, -0.7)]
    crown = [(-0.95, -0.85), (-0.4, top - 0.06), (0.4, top - 0.06), (0.95, -0.85)]
    brush.polygon([(-1.03, side), *crown, (1.03, side), *fringe], face.hair)


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
    """Draw a gradient with a few lighter discs, supersampled."""
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
        scene: The scene.
        motions: One per face.
        frames: Frames of the motions to draw; None draws all.

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
    """Draw a scene with closed mouths, ``H W 3`` uint8."""
    zero = np.zeros(1, np.float32)
    return draw_frames(scene, tuple(Motion(zero, zero, zero) for _ in scene.faces))[0]
