"""Evaluates dubs: drawn videos of held-out people get another held-out voice.

Prints, for free and exact dubs, how the mouth follows both voices, and how far everything else is from the
video.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.conditioning.audio import SAMPLE_RATE
from multitalk.media.video import VideoWriter
from multitalk.models.video_vae import decode_latents, encode_condition
from multitalk.request.numbers import FRAMES_PER_CLIP
from multitalk.weights.folders import EMBEDDED_FOLDER

from . import progress
from .cases import Score, make_voices, score_mouth
from .clips import make_motions
from .drawing import draw_frames
from .scenes import HEIGHT, HELD_OUT_SEED, Face, Scene, make_scene
from .speech import Track
from .vae import to_tensor

CRF = 6  # the source's compression is far below the VAE's error


@dataclass(frozen=True)
class Dub:
    """A drawn video of one person, and a new voice for it.

    Attributes:
        scene: The scene.
        source: The drawn video, ``T H W 3``; its mouth follows `spoken`.
        spoken: The voice of the source.
        voice: The new voice.
        truth: The scene drawn with the new voice, ``T H W 3``.
    """

    scene: Scene
    source: np.ndarray
    spoken: Track
    voice: Track
    truth: np.ndarray

    @property
    def face(self) -> Face:
        """The person."""
        return self.scene.faces[0]


def make_dub(index: int, seconds: float) -> Dub:
    """Create a held-out case: the two voices are nearly uncorrelated."""
    seed = HELD_OUT_SEED + index
    scene = make_scene(seed, 1, HEIGHT)
    spoken, voice = make_voices(seed, 2, seconds)
    source, truth = (
        draw_frames(scene, make_motions(np.random.default_rng(seed), [track])) for track in (spoken, voice)
    )
    return Dub(scene, source, spoken, voice, truth)


def write_source(dub: Dub, path: Path) -> None:
    """Write the source's video file."""
    with VideoWriter(path, dub.scene.width, dub.scene.height, crf=CRF) as writer:
        writer.write(dub.source)


def run_dub(pipeline: MultiTalkPipeline, case: Dub, **settings: object) -> np.ndarray:
    """Generate the dubbed video, ``T H W 3`` uint8."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "source.mp4"
        write_source(case, path)
        size = (case.scene.height, case.scene.width)
        request = GenerationRequest(
            video=path, audio=(case.voice.samples[:, None], SAMPLE_RATE), size=size, **settings
        )
        return np.concatenate([clip.frames.numpy() for clip in pipeline.stream(request)])


def score_dub(dub: Dub, frames: np.ndarray) -> Score:
    """Score the mouth of a dubbed video; `other` is the correlation with the source's voice."""
    length = min(len(frames), len(dub.truth))
    return score_mouth(dub.face, frames[:length], dub.truth[:length], dub.voice, dub.spoken)


@torch.inference_mode()
def reconstruct(pipeline: MultiTalkPipeline, frames: np.ndarray) -> np.ndarray:
    """Encode and decode frames ``4n+1 H W 3`` with the VAE."""
    vae = pipeline.components.vae
    latents = encode_condition(vae, to_tensor(frames).transpose(0, 1), len(frames))
    decoded = torch.cat(list(decode_latents(vae, latents)), dim=1)
    return ((decoded / 2 + 0.5) * 255).round().byte().permute(1, 2, 3, 0).numpy()


def psnr_outside_mouth(face: Face, frames: np.ndarray, reference: np.ndarray) -> float:
    """Return the PSNR of the pixels outside the mouth's box, in dB."""
    outside = np.ones(frames.shape[1:3], bool)
    left, top, right, bottom = face.mouth_box
    outside[top:bottom, left:right] = False
    error = frames[:, outside].astype(np.float32) - reference[:, outside].astype(np.float32)
    return float(10 * np.log10(255**2 / np.square(error).mean()))


def outside_mouth(pipeline: MultiTalkPipeline, dub: Dub, frames: np.ndarray) -> float:
    """Return the PSNR of the first clip outside the mouth, to the reconstruction of the source, in dB."""
    length = (min(len(frames), len(dub.source), FRAMES_PER_CLIP) - 1) // 4 * 4 + 1
    return psnr_outside_mouth(dub.face, frames[:length], reconstruct(pipeline, dub.source[:length]))


def report(pipeline: MultiTalkPipeline, cases: int = 8, seconds: float = 5.0) -> None:
    """Dub held-out videos and print the scores."""
    for mode in ("free", "exact"):
        scores, distances = [], []
        for index in range(cases):
            dub = make_dub(index, seconds)
            frames = run_dub(pipeline, dub, dub=mode)
            scores.append(score_dub(dub, frames))
            distances.append(outside_mouth(pipeline, dub, frames))
        r, other, amplitude = (
            np.array([getattr(score, name) for score in scores]) for name in ("r", "other", "amplitude")
        )
        print(
            f"{mode} dubs {cases}: r mean {r.mean():.3f} least {r.min():.3f}; "
            f"with the video's own voice at most {other.max():.2f}; "
            f"amplitude mean {amplitude.mean():.2f} least {amplitude.min():.2f}; "
            f"outside the mouth mean {np.mean(distances):.1f} dB least {min(distances):.1f} dB",
            flush=True,
        )


def main(weights: str = "", cases: int = 8, seconds: float = 5.0) -> None:
    """Evaluate a weights folder; empty: the embedded one."""
    report(MultiTalkPipeline.from_pretrained(weights or EMBEDDED_FOLDER, device="cpu"), cases, seconds)


if __name__ == "__main__":
    progress.command_line(main)
