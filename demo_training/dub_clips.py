"""Training clips for InfiniteTalk's audio layers: drawn clips whose person gets another voice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from multitalk import MultiTalkPipeline
from multitalk.conditioning.image import encode_image
from multitalk.models.video_vae import latent_frames
from multitalk.weights.folders import EMBEDDED_FOLDER

from . import progress
from .clips import ClipMaker, Kind, choose_tracks, make_motions, mouth_mask, write_shards
from .drawing import draw_frames
from .scenes import HELD_OUT_SEED, Motion, Scene, make_scene
from .vae import to_tensor

FOLDER = "dub_clips"
SHARDS = 16
VIDEO_SHARE = 0.65  # clips whose input is a video; the others have a picture
SECONDS = 4.0
# the leading frames are given as clean latents: the input's, or the last ones of the previous clip
KINDS = {
    kind.name: kind
    for kind in (
        Kind("one", 1, 21, 1),
        Kind("two", 2, 21, 1),
        Kind("one_later", 1, 29, 9),
        Kind("two_later", 2, 29, 9),
    )
}
# kinds of consecutive shards
ORDER = ("one", "one_later", "two", "one", "two_later", "one_later")


class DubClipMaker(ClipMaker):
    """Draws clips and encodes them with the networks of a weights folder.

    Args:
        weights: The folder.
    """

    def __init__(self, weights: Path) -> None:
        components = MultiTalkPipeline.from_pretrained(weights, device="cpu").components
        super().__init__(components.vae, components.audio_encoder, components.image_encoder)

    @torch.inference_mode()
    def make(self, kind: Kind, seed: int) -> dict[str, torch.Tensor]:
        """Create a clip from a random position in longer speech, as half-precision tensors.

        Returns:
            As :meth:`ClipMaker.make`, and source ``T' 16 h w``: the latents of the video that is dubbed, or
            of the clip itself if the input is a picture.
        """
        random = np.random.default_rng([23, kind.people, kind.frames, seed])
        scene = make_scene(int(random.integers(HELD_OUT_SEED)), kind.people)
        tracks, others = (choose_tracks(random, kind.people, SECONDS) for _ in range(2))
        start = int(random.integers(len(tracks[0].opening) - kind.frames + 1))
        if random.random() < 0.3:
            start = 0  # a video starts with the input
        motions = make_motions(random, tracks)
        frames = range(start, start + kind.frames)
        drawn = draw_frames(scene, motions, frames)
        source = drawn
        if random.random() < VIDEO_SHARE:
            spoken = tuple(
                replace(motion, opening=other.opening, spread=other.spread)
                for motion, other in zip(motions, others, strict=True)
            )
            source = draw_frames(scene, spoken, frames)
            reference = source[0]
        else:
            reference = drawn[0] if kind.condition_frames == 1 else draw_picture(scene, motions)
        if kind.condition_frames == 1:
            drawn[0] = reference
        video, condition = to_tensor(drawn)[None], to_tensor(reference)
        with torch.autocast("cpu", torch.bfloat16):
            latents = self.vae.encode(video)[0]
            encoded = latents if source is drawn else self.vae.encode(to_tensor(source)[None])[0]
            given = self.vae.encode_condition(condition[None, None], kind.frames)[0]
        return {
            "latents": latents.half(),
            "source": encoded.half(),
            "condition": given.half(),
            "image": encode_image(self.image_encoder, condition)[0].half(),
            "audio": self.encode_tracks(tracks, start, kind.frames).half(),
            "mouths": mouth_mask(scene, latent_frames(kind.frames)),
            "silent": torch.tensor(all(track.opening.max() == 0 for track in tracks)),
        }


def draw_picture(scene: Scene, motions: tuple[Motion, ...]) -> np.ndarray:
    """Draw the start of a video with closed mouths, ``H W 3`` uint8."""
    zero = np.zeros(1, np.float32)
    return draw_frames(scene, tuple(Motion(zero, zero, zero, motion.start) for motion in motions))[0]


def make_shards(first: int = 0, count: int = SHARDS, step: int = 1, weights: Path = EMBEDDED_FOLDER) -> None:
    """Create the missing ones of every `step`-th shard from `first` on; processes can share the work."""
    maker = DubClipMaker(weights)
    write_shards(maker, progress.WORK / FOLDER, KINDS, ORDER, range(first, count, step))


if __name__ == "__main__":
    progress.command_line(make_shards)
