"""Evaluation on held-out people and voices: videos of the pipeline, and how the audio drives the mouths."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from PIL import Image

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.conditioning.audio import SAMPLE_RATE

from .clips import make_motions, silent_track
from .drawing import draw_frames, still
from .scenes import HEIGHT, HELD_OUT_SEED, Face, Scene, make_scene
from .speech import Track, make_random_track, make_track


@dataclass(frozen=True)
class Case:
    """A scene and its audio."""

    name: str
    scene: Scene
    picture: Image.Image
    tracks: list[Track]
    truth: np.ndarray  # T H W 3, the drawn video


@dataclass(frozen=True)
class Score:
    """Scores of one face.

    Attributes:
        r: Correlation (Pearson) of the mouth's dark area with the loudness envelope of the person's track.
        other: Correlation with the other person's track; NaN for one person.
        amplitude: Standard deviation of the dark area, relative to the drawn video.
        speaks: Whether the person speaks.
        movement: Standard deviation of the dark area, relative to the box.
    """

    r: float
    other: float
    amplitude: float
    speaks: bool
    movement: float


def dark_area(frames: np.ndarray, face: Face) -> np.ndarray:
    """Return the dark share of the mouth box for each frame of ``T H W 3`` uint8."""
    left, top, right, bottom = face.mouth_box
    box = frames[:, top:bottom, left:right].astype(np.float32)
    luminance = box @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.clip((65 - luminance) / 35, 0, 1).mean((1, 2))


def make_voices(seed: int, people: int, seconds: float) -> list[Track]:
    """Create tracks of held-out voices; those of two people are nearly uncorrelated."""
    first = make_random_track(seed, seconds, held_out=True)
    if people == 1:
        return [first]
    for other in itertools.count(seed + 500, 1000):
        second = make_random_track(other, seconds, held_out=True)
        length = min(len(first.opening), len(second.opening))
        if abs(correlation(first.opening[:length], second.opening[:length])) < 0.1:
            return [first, second]
    raise AssertionError("the loop is endless")


def make_case(index: int, kind: str, seconds: float) -> Case:
    """Create a held-out case: ``one`` person, or two: in ``turns``, only the ``first``, or ``both``."""
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
    """Create the request of a case."""
    sounds = {
        f"person{number + 1}": (track.samples[:, None], SAMPLE_RATE)
        for number, track in enumerate(case.tracks)
    }
    size = (case.scene.height, case.scene.width)
    return GenerationRequest(image=case.picture, audio=sounds, size=size, **settings)


def run(pipeline: MultiTalkPipeline, case: Case, **settings: object) -> np.ndarray:
    """Generate the video of a case, ``T H W 3`` uint8."""
    clips = pipeline.stream(request_of(case, **settings))
    return np.concatenate([clip.frames.numpy() for clip in clips])


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson's r; 0 if either series is constant."""
    if first.std() < 1e-6 or second.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def score(case: Case, frames: np.ndarray) -> list[Score]:
    """Score every face of a video."""
    length = min(len(frames), len(case.truth))
    scores = []
    for person, (face, track) in enumerate(zip(case.scene.faces, case.tracks, strict=True)):
        other = case.tracks[1 - person] if len(case.tracks) == 2 else None
        scores.append(score_mouth(face, frames[:length], case.truth[:length], track, other))
    return scores


def score_mouth(
    face: Face, frames: np.ndarray, truth: np.ndarray, track: Track, other: Track | None
) -> Score:
    """Score a face.

    Args:
        face: The face.
        frames: The generated video, ``T H W 3``.
        truth: The drawn one.
        track: Its voice.
        other: A voice that it should not follow, or None.
    """
    area, drawn = dark_area(frames, face), dark_area(truth, face)
    return Score(
        r=correlation(area, track.opening[: len(frames)]),
        other=float("nan") if other is None else correlation(area, other.opening[: len(frames)]),
        amplitude=float(area.std() / max(drawn.std(), 1e-6)),
        speaks=bool(track.opening.max() > 0),
        movement=float(area.std()),
    )
