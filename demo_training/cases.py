"""Held-out people and voices, their videos through the public pipeline, and how sound drives the mouths."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from PIL import Image

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.conditioning.audio import SAMPLE_RATE

from .clips import make_motions, silent_track
from .faces import HEIGHT, HELD_OUT_SEED, Face, Scene, draw_frames, make_scene, still
from .speech import Track, make_random_track, make_track


@dataclass(frozen=True)
class Case:
    """A scene and who says what in it."""

    name: str
    scene: Scene
    picture: Image.Image
    tracks: list[Track]
    truth: np.ndarray  # T H W 3, the scene drawn with these mouths


@dataclass(frozen=True)
class Score:
    """One face of one case.

    Attributes:
        r: Pearson's, of the mouth's dark area with the loudness envelope of the own track.
        other: The same with the other person's track (NaN for one person).
        amplitude: Standard deviation of the dark area over that of the drawn truth.
        speaks: Whether the person says anything.
        movement: Standard deviation of the dark area, in shares of the box.
    """

    r: float
    other: float
    amplitude: float
    speaks: bool
    movement: float


def dark_area(frames: np.ndarray, face: Face) -> np.ndarray:
    """Share of the mouth box that is dark, one value per frame of ``T H W 3`` uint8."""
    left, top, right, bottom = face.mouth_box
    box = frames[:, top:bottom, left:right].astype(np.float32)
    luminance = box @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.clip((65 - luminance) / 35, 0, 1).mean((1, 2))


def make_voices(seed: int, people: int, seconds: float) -> list[Track]:
    """Held-out voices; two that don't happen to rise and fall together, so that it shows who is followed."""
    first = make_random_track(seed, seconds, held_out=True)
    if people == 1:
        return [first]
    for other in itertools.count(seed + 500, 1000):
        second = make_random_track(other, seconds, held_out=True)
        length = min(len(first.opening), len(second.opening))
        if abs(correlation(first.opening[:length], second.opening[:length])) < 0.1:
            return [first, second]
    raise AssertionError("there is always another voice")


def make_case(index: int, kind: str, seconds: float) -> Case:
    """A held-out scene: ``one`` person; or two: in ``turns``, ``first`` alone, or ``both`` at once."""
    seed = HELD_OUT_SEED + index
    people = 1 if kind == "one" else 2
    scene = make_scene(seed, people, HEIGHT)
    picture = Image.fromarray(still(make_scene(seed, people, 2 * HEIGHT)))
    tracks = make_voices(seed, people, seconds)
    half = int(seconds / 2 * SAMPLE_RATE)
    if kind == "turns":
        first, second = (track.samples[:half] for track in tracks)
        tracks = [make_track(np.pad(first, (0, half))), make_track(np.pad(second, (half, 0)))]
    elif kind == "first":
        tracks[1] = silent_track(seconds)
    truth = draw_frames(scene, make_motions(np.random.default_rng(seed), tracks))
    return Case(f"{kind} {index}", scene, picture, tracks, truth)


def request_of(case: Case, **settings: object) -> GenerationRequest:
    """The case as a person would ask for it."""
    sounds = {
        f"person{number + 1}": (track.samples[:, None], SAMPLE_RATE)
        for number, track in enumerate(case.tracks)
    }
    size = (case.scene.height, case.scene.width)
    return GenerationRequest(image=case.picture, audio=sounds, size=size, **settings)


def run(pipeline: MultiTalkPipeline, case: Case, **settings: object) -> np.ndarray:
    """Frames ``T H W 3`` uint8 of a case."""
    clips = pipeline.stream(request_of(case, **settings))
    return np.concatenate([clip.frames.numpy() for clip in clips])


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r; 0 where one of them doesn't change."""
    if first.std() < 1e-6 or second.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def score(case: Case, frames: np.ndarray) -> list[Score]:
    """One score per face."""
    length = min(len(frames), len(case.truth))
    scores = []
    for person, (face, track) in enumerate(zip(case.scene.faces, case.tracks, strict=True)):
        area, truth = dark_area(frames[:length], face), dark_area(case.truth[:length], face)
        other = float("nan")
        if len(case.tracks) == 2:
            other = correlation(area, case.tracks[1 - person].opening[:length])
        speaks = bool(track.opening.max() > 0)
        scores.append(
            Score(
                r=correlation(area, track.opening[:length]),
                other=other,
                amplitude=float(area.std() / max(truth.std(), 1e-6)),
                speaks=speaks,
                movement=float(area.std()),
            )
        )
    return scores
