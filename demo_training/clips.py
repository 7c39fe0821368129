"""Training clips of the transformer: drawn clips with sound, encoded once and stored as latents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from multitalk.conditioning.audio import SAMPLE_RATE, encode_audio
from multitalk.conditioning.image import encode_image
from multitalk.models.video_vae import latent_frames

from . import progress
from .audio_encoder import make_audio_encoder
from .drawing import draw_frames
from .encoders import make_image_encoder
from .fast_vae import FastVAE, make_vae
from .scenes import HELD_OUT_SEED, Motion, Scene, make_blinks, make_scene
from .speech import Track, make_random_track, make_track
from .vae import to_tensor

WINDOW = 5
FOLDER = "clips"
SHARD = 16  # clips per file
SHARDS = 144


@dataclass(frozen=True)
class Kind:
    """A kind of clip.

    Attributes:
        name: Its name.
        people: Number of people.
        frames: Number of frames.
        condition_frames: Number of leading frames that are given to the transformer.
    """

    name: str
    people: int
    frames: int
    condition_frames: int


KINDS = {
    kind.name: kind
    for kind in (
        Kind("one", 1, 21, 1),
        Kind("two", 2, 21, 1),
        Kind("one_later", 1, 41, 25),
        Kind("two_later", 2, 41, 25),
    )
}
# kinds of consecutive shards
ORDER = ("one", "two", "one", "two", "one_later", "one", "two", "one", "two", "one", "two", "two_later")


def silent_track(seconds: float) -> Track:
    """Create a silent track."""
    return make_track(np.zeros(int(seconds * SAMPLE_RATE), np.float32))


def choose_tracks(random: np.random.Generator, people: int, seconds: float) -> list[Track]:
    """Choose who speaks: one person alone, both, one of two, or nobody."""
    seeds = [int(random.integers(1 << 30)) for _ in range(people)]
    tracks = [make_random_track(seed, seconds) for seed in seeds]
    if people == 1:
        return tracks if random.random() > 0.15 else [silent_track(seconds)]
    share = random.random()
    if share < 0.12:
        return [silent_track(seconds), silent_track(seconds)]
    if share < 0.6:
        tracks[int(random.integers(2))] = silent_track(seconds)
    return tracks


class ClipMaker:
    """Draws clips and encodes them.

    Args:
        vae, audio_encoder, image_encoder: The networks.
    """

    def __init__(self, vae: nn.Module, audio_encoder: nn.Module, image_encoder: nn.Module) -> None:
        self.vae = FastVAE(vae)
        self.audio_encoder = audio_encoder
        self.image_encoder = image_encoder

    @classmethod
    def of_checkpoints(cls) -> ClipMaker:
        """Load the trained VAE and audio encoder."""
        vae, audio_encoder = make_vae(), make_audio_encoder().eval()
        vae.load_state_dict(progress.require("vae")["model"])
        audio_encoder.load_state_dict(progress.require("audio_encoder")["model"])
        return cls(vae, audio_encoder, make_image_encoder())

    @torch.inference_mode()
    def make(self, kind: Kind, seed: int) -> dict[str, torch.Tensor]:
        """Create a clip from a random position in longer speech, as half-precision tensors.

        Returns:
            latents ``T' 16 h w`` and condition ``T' 16 h w`` (not normalized), image ``17 C``, audio
            ``P F 5 L C``, mouths ``T' h w`` (True at mouths), silent (True if nobody speaks).
        """
        random = np.random.default_rng([13, kind.people, kind.frames, seed])
        scene = make_scene(int(random.integers(HELD_OUT_SEED)), kind.people)
        seconds = 4.0
        tracks = choose_tracks(random, kind.people, seconds)
        start = int(random.integers(len(tracks[0].opening) - kind.frames + 1))
        if random.random() < 0.3:
            start = 0  # a video starts with the image
        frames = draw_frames(scene, make_motions(random, tracks), range(start, start + kind.frames))
        video = to_tensor(frames)[None]
        with torch.autocast("cpu", torch.bfloat16):
            latents = self.vae.encode(video)[0]
            condition = self.vae.encode_condition(video[:, : kind.condition_frames], kind.frames)[0]
        return {
            "latents": latents.half(),
            "condition": condition.half(),
            "image": encode_image(self.image_encoder, video[0, kind.condition_frames - 1])[0].half(),
            "audio": self.encode_tracks(tracks, start, kind.frames).half(),
            "mouths": mouth_mask(scene, latent_frames(kind.frames)),
            "silent": torch.tensor(all(track.opening.max() == 0 for track in tracks)),
        }

    def encode_tracks(self, tracks: list[Track], start: int, frames: int) -> torch.Tensor:
        """Compute the audio windows ``P F 5 L C`` of a part of every track."""
        features = [encode_audio(self.audio_encoder, track.samples) for track in tracks]
        positions = torch.arange(start, start + frames)[:, None] + torch.arange(WINDOW) - WINDOW // 2
        return torch.stack([feature[positions.clamp(0, len(feature) - 1)] for feature in features])


def make_motions(random: np.random.Generator, tracks: list[Track]) -> tuple[Motion, ...]:
    """Create the motion of faces that speak the tracks, with random blinks."""
    return tuple(
        Motion(track.opening, track.spread, make_blinks(random, len(track.opening)), random.uniform(0, 5))
        for track in tracks
    )


def mouth_mask(scene: Scene, frames: int) -> torch.Tensor:
    """Return the mask of all mouths, ``T' h w`` bool at latent resolution."""
    mask = torch.zeros(frames, scene.height // 8, scene.width // 8, dtype=torch.bool)
    for face in scene.faces:
        left, top, right, bottom = (round(value / 8) for value in face.mouth_box)
        mask[:, top : bottom + 1, left : right + 1] = True
    return mask


def write_shards(
    maker: ClipMaker, folder: Path, kinds: Mapping[str, Kind], order: Sequence[str], indices: Iterable[int]
) -> None:
    """Create the missing shards of a folder.

    Args:
        maker: Makes the clips.
        folder: The folder.
        kinds: Kinds of clips by name.
        order: Names of the kinds of consecutive shards.
        indices: Numbers of the shards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index in indices:
        kind = kinds[order[index % len(order)]]
        path = folder / f"{index:04d}-{kind.name}.pt"
        if path.exists():
            continue
        clips = [maker.make(kind, index * SHARD + number) for number in range(SHARD)]
        stacked = {name: torch.stack([clip[name] for clip in clips]) for name in clips[0]}
        torch.save(stacked, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
        print(path.name, flush=True)


def make_shards(first: int = 0, count: int = SHARDS, step: int = 1) -> None:
    """Create the missing ones of every `step`-th shard from `first` on; processes can share the work."""
    maker = ClipMaker.of_checkpoints()
    write_shards(maker, progress.WORK / FOLDER, KINDS, ORDER, range(first, count, step))


if __name__ == "__main__":
    progress.command_line(make_shards)
