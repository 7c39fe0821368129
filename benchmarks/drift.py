"""Drift of long videos, clip by clip: ``python -m benchmarks.drift [--weights DIR] [--model infinitetalk]``.

Every clip continues from the end of the previous one, so that errors can accumulate. For the new frames of
each clip, the table has the change of the colors and of the sharpness of the face against the first clip, and
how similar the face is to that of the first frame. The voice is repeated until it is long enough.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.media.sound import Sound
from multitalk.media.sound_reading import read_sound
from multitalk.models.constants import FPS
from multitalk.request.model_kinds import MODELS
from multitalk.request.numbers import FRAMES_PER_CLIP

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the video
SEARCH = 0.15  # of the face's size: how far it may move between frames
ABOVE_MOUTH = 0.65  # of the face's height: what speech does not change
SAMPLED = 12  # frames of a clip in which the face is compared


@dataclass(frozen=True)
class ClipDrift:
    """Drift of a clip.

    Attributes:
        colors: Largest change of a color channel's mean against the first clip, in levels of 255.
        sharpness: Variance of the Laplacian in the face box, relative to the first clip.
        identity: Similarity of the face above the mouth to that in the first frame: the normalized
            cross-correlation at the position where it fits best, the mean over the clip. 1 is equal.
    """

    colors: float
    sharpness: float
    identity: float


def measure_drift(clips: list[np.ndarray], face: Box) -> list[ClipDrift]:
    """Measure the drift of a video.

    Args:
        clips: The new frames of each clip, ``T H W 3`` uint8.
        face: Box of the face in the first frame.
    """
    left, top, right, bottom = face
    above_mouth = (left, top, right, top + round(ABOVE_MOUTH * (bottom - top)))
    colors = [clip.mean((0, 1, 2), dtype=np.float64) for clip in clips]
    sharpness = [_sharpness(clip[:, top:bottom, left:right]) for clip in clips]
    return [
        ClipDrift(
            colors=float(np.abs(mean - colors[0]).max()),
            sharpness=sharp / sharpness[0],
            identity=_similarity(clip, clips[0][0], above_mouth),
        )
        for clip, mean, sharp in zip(clips, colors, sharpness, strict=True)
    ]


def _sharpness(frames: np.ndarray) -> float:
    gray = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in _sampled(frames))
    return float(np.mean([cv2.Laplacian(frame, cv2.CV_64F).var() for frame in gray]))


def _similarity(frames: np.ndarray, first: np.ndarray, box: Box) -> float:
    left, top, right, bottom = box
    template = first[top:bottom, left:right]
    across, down = round(SEARCH * (right - left)), round(SEARCH * (bottom - top))
    rows = slice(max(0, top - down), bottom + down)
    columns = slice(max(0, left - across), right + across)
    matches = (
        cv2.matchTemplate(frame[rows, columns], template, cv2.TM_CCOEFF_NORMED).max()
        for frame in _sampled(frames)
    )
    return float(np.mean(list(matches)))


def _sampled(frames: np.ndarray) -> np.ndarray:
    return frames[np.linspace(0, len(frames) - 1, min(SAMPLED, len(frames))).round().astype(int)]


def seconds_of(model: str, clips: int) -> float:
    """Return the length of a video with a number of clips."""
    return (FRAMES_PER_CLIP + (clips - 1) * (FRAMES_PER_CLIP - MODELS[model].motion_frames)) / FPS


def repeated(sound: Sound, seconds: float) -> tuple[np.ndarray, int]:
    """Repeat a sound up to a length, as the input of a request."""
    return np.resize(sound.samples, (round(seconds * sound.rate), sound.channels)), sound.rate


def find_face(frame: np.ndarray) -> Box:
    """Find the largest face in a frame ``H W 3`` uint8."""
    from multitalk.ui.faces import find_faces

    faces = find_faces(Image.fromarray(frame))
    if not faces:
        raise SystemExit("No face was found in the first frame. Set --box.")
    return faces[0]


def table(drifts: list[ClipDrift]) -> str:
    """Format the drift of all clips as a table."""
    rows = [
        f"| {number} | {drift.colors:.1f} | {drift.sharpness:.2f} | {drift.identity:.3f} |"
        for number, drift in enumerate(drifts, 1)
    ]
    return "\n".join(["| clip | colors | sharpness | identity |", "|---|---|---|---|", *rows])


def main(arguments: list[str] | None = None) -> int:
    """Print a table for each model; returns the exit status."""
    parser = argparse.ArgumentParser(prog="drift", description=__doc__)
    parser.add_argument("--weights", type=Path, help="a baked folder (default: as for multitalk generate)")
    parser.add_argument("--image", type=Path, default=EXAMPLES / "one_person.png")
    parser.add_argument("--audio", type=Path, default=EXAMPLES / "one_person.wav")
    parser.add_argument("--model", choices=tuple(MODELS), action="append", help="default: all of the weights")
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--box", type=int, nargs=4, help="left, top, right, bottom in pixels of the video")
    options = parser.parse_args(arguments)
    pipeline = MultiTalkPipeline.from_pretrained(options.weights)
    sets = pipeline.components.audio_layer_sets
    models = options.model or [name for name, kind in MODELS.items() if kind.audio_layers[1] in sets]
    for model in models:
        voice = repeated(read_sound(options.audio), seconds_of(model, options.clips))
        request = GenerationRequest(image=options.image, audio=voice, model=model)
        clips = [clip.frames.cpu().numpy() for clip in pipeline.stream(request)]
        face = tuple(options.box) if options.box else find_face(clips[0][0])
        print(f"{MODELS[model].title}:\n{table(measure_drift(clips, face))}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
