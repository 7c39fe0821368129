"""What else must hold of the weights: guidance, silence, swapped voices, later clips, the autoencoder."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from multitalk import MultiTalkPipeline

from .cases import Case, correlation, dark_area, make_case, run
from .fast_vae import FastVAE
from .vae import held_out_psnr

CLIP, STRIDE = 81, 56  # frames of a clip, and those that a later one adds
THREE_CLIPS = (CLIP + 2 * STRIDE) / 25  # seconds


@dataclass(frozen=True)
class Continuation:
    """A video of three clips.

    Attributes:
        r: The mouth's correlation with the sound, clip by clip.
        seam: Change from frame to frame across the two seams, over the largest change elsewhere.
        colors: Largest change of a channel's mean from the first frame to the last, in shares.
    """

    r: tuple[float, ...]
    seam: float
    colors: float


def movement_by_guidance(pipeline: MultiTalkPipeline, case: Case) -> dict[float, float]:
    """How much the mouth of one person moves at an audio guidance of 0 (null audio alone), 1 and 2."""
    face = case.scene.faces[0]
    videos = {scale: run(pipeline, case, audio_guidance=scale) for scale in (0.0, 1.0, 2.0)}
    return {scale: float(dark_area(frames, face).std()) for scale, frames in videos.items()}


def movement_by_voice(pipeline: MultiTalkPipeline, case: Case) -> np.ndarray:
    """Movement of two mouths, one row per video: person 1 says the sound, then person 2 says the same."""
    rows = []
    for tracks in (case.tracks, case.tracks[::-1]):
        frames = run(pipeline, replace(case, tracks=tracks))
        rows.append([float(dark_area(frames, face).std()) for face in case.scene.faces])
    return np.array(rows)


def continuation(pipeline: MultiTalkPipeline, index: int) -> Continuation:
    """Three clips of one person: is the last as good as the first, and are their seams seen?"""
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


def report(pipeline: MultiTalkPipeline) -> None:
    """Run every trial and print what it gives."""
    moves = movement_by_guidance(pipeline, make_case(100, "one", 3.2))
    print("movement at guidance " + ", ".join(f"{scale:g}: {value:.4f}" for scale, value in moves.items()))
    for index in range(101, 104):
        case = make_case(index, "first", 3.2)
        (own, other), (other_swapped, own_swapped) = movement_by_voice(pipeline, case)
        print(
            f"two people, person 1 speaks: {own:.4f} and {other:.4f}; person 2 speaks: "
            f"{other_swapped:.4f} and {own_swapped:.4f}"
        )
    for index in range(104, 107):
        result = continuation(pipeline, index)
        print(
            f"three clips: r {', '.join(f'{r:.2f}' for r in result.r)}; "
            f"seam {result.seam:.2f} of the largest change elsewhere; colours {100 * result.colors:.1f} %",
            flush=True,
        )
    whole, last = held_out_psnr(FastVAE(pipeline.components.vae), clips=8, frames=CLIP)
    print(f"autoencoder: {whole:.1f} dB, last frames {last:.1f} dB")
