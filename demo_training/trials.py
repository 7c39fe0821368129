"""What else must hold of the weights: guidance, silence, swapped voices, later clips, the autoencoder."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import AutoencoderKLWan

from multitalk import MultiTalkPipeline

from .cases import Case, correlation, dark_area, make_case, run
from .faces import HELD_OUT_SEED
from .fast_vae import FastVAE
from .vae import draw_random_clip, to_tensor

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


@torch.inference_mode()
def reconstruction(vae: AutoencoderKLWan, clips: int, frames: int = CLIP) -> tuple[float, float]:
    """PSNR in dB of held-out whole clips, one and two people, and of their last frames alone."""
    fast = FastVAE(vae)
    whole, last = [], []
    for index in range(clips):
        _, drawn = draw_random_clip(np.random.default_rng([7, index]), HELD_OUT_SEED + index, frames)
        truth = to_tensor(drawn)[None]
        squared = ((fast.decode(fast.encode(truth)).clamp(-1, 1) - truth) / 2).square()
        whole.append(float(squared.mean()))
        last.append(float(squared[:, -1].mean()))
    return -10 * float(np.log10(np.mean(whole))), -10 * float(np.log10(np.mean(last)))


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
    whole, last = reconstruction(pipeline.components.vae, 8)
    print(f"autoencoder: {whole:.1f} dB, last frames {last:.1f} dB")
