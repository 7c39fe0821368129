"""Further trials of the weights: guidance, silence, swapped voices, later clips, dubs and the VAE."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.drift import ClipDrift, measure_drift, seconds_of
from multitalk import MultiTalkPipeline
from multitalk.request.model_kinds import MODELS

from . import dubs
from .cases import Case, correlation, dark_area, make_case, request_of, run
from .fast_vae import FastVAE
from .vae import held_out_psnr

CLIP, STRIDE = 81, 56  # frames of a clip, and new frames of a later one
THREE_CLIPS = (CLIP + 2 * STRIDE) / 25  # seconds


@dataclass(frozen=True)
class Continuation:
    """Scores of a video of three clips.

    Attributes:
        r: Correlation of the mouth with the audio for each clip.
        seam: Largest change between frames at the two seams, relative to the largest change elsewhere.
        colors: Largest relative change of a channel's mean from the first frame to the last.
    """

    r: tuple[float, ...]
    seam: float
    colors: float


def movement_by_guidance(pipeline: MultiTalkPipeline, case: Case) -> dict[float, float]:
    """Measure the mouth movement of one person at audio guidance 0 (null audio only), 1 and 2."""
    face = case.scene.faces[0]
    videos = {scale: run(pipeline, case, audio_guidance=scale) for scale in (0.0, 1.0, 2.0)}
    return {scale: float(dark_area(frames, face).std()) for scale, frames in videos.items()}


def movement_by_voice(pipeline: MultiTalkPipeline, case: Case) -> np.ndarray:
    """Measure the movement of two mouths: a row with the tracks as given, and a row with swapped tracks."""
    rows = []
    for tracks in (case.tracks, case.tracks[::-1]):
        frames = run(pipeline, replace(case, tracks=tracks))
        rows.append([float(dark_area(frames, face).std()) for face in case.scene.faces])
    return np.array(rows)


def continuation(pipeline: MultiTalkPipeline, index: int) -> Continuation:
    """Generate three clips of one person, and score each clip and the seams."""
    case = make_case(index, "one", THREE_CLIPS)
    frames = run(pipeline, case)
    area, opening = dark_area(frames, case.scene.faces[0]), case.tracks[0].opening
    starts = [0, CLIP, CLIP + STRIDE, CLIP + 2 * STRIDE]
    parts = [slice(a, b) for a, b in itertools.pairwise(starts)]
    change = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean((1, 2, 3))
    seams = [CLIP - 1, CLIP + STRIDE - 1]  # change from the frame before
    first, last = (frames[at].astype(np.float32).mean((0, 1)) for at in (0, -1))
    return Continuation(
        r=tuple(correlation(area[part], opening[part]) for part in parts),
        seam=float(change[seams].max() / np.delete(change, seams).max()),
        colors=float(np.abs(last / first - 1).max()),
    )


def drift(pipeline: MultiTalkPipeline, index: int, model: str, clips: int = 10) -> list[ClipDrift]:
    """Measure the drift of a long video of one person with a model."""
    case = make_case(index, "one", seconds_of(model, clips))
    video = [clip.frames.numpy() for clip in pipeline.stream(request_of(case, model=model))]
    face = case.scene.faces[0]
    (x, y), half_height = face.center, face.face_height * face.unit
    box = (x - face.unit, y - half_height, x + face.unit, y + half_height)
    return measure_drift(video, tuple(map(round, box)))


def report(pipeline: MultiTalkPipeline) -> None:
    """Run all trials and print the results."""
    moves = movement_by_guidance(pipeline, make_case(100, "one", 3.2))
    print("movement at guidance " + ", ".join(f"{scale:g}: {value:.4f}" for scale, value in moves.items()))
    for index in range(101, 104):
        case = make_case(index, "first", 3.2)
        (first, second), (first_swapped, second_swapped) = movement_by_voice(pipeline, case)
        print(
            f"two people, person 1 speaks: {first:.4f} and {second:.4f}; person 2 speaks: "
            f"{first_swapped:.4f} and {second_swapped:.4f}"
        )
    for index in range(104, 107):
        result = continuation(pipeline, index)
        print(
            f"three clips: r {', '.join(f'{r:.2f}' for r in result.r)}; "
            f"seam {result.seam:.2f} of the largest change elsewhere; colors {100 * result.colors:.1f} %",
            flush=True,
        )
    whole, last = held_out_psnr(FastVAE(pipeline.components.vae), clips=8, frames=CLIP)
    print(f"autoencoder: {whole:.1f} dB, last frames {last:.1f} dB")
    for model, index in itertools.product(MODELS, range(107, 109)):
        drifts = drift(pipeline, index, model)
        print(
            f"ten clips of {model}: colors up to {max(clip.colors for clip in drifts):.1f} levels of 255, "
            f"sharpness {min(clip.sharpness for clip in drifts):.2f} to "
            f"{max(clip.sharpness for clip in drifts):.2f}, "
            f"identity {drifts[0].identity:.3f} at first, {drifts[-1].identity:.3f} at last",
            flush=True,
        )
    dubs.report(pipeline)
