"""The transformer's lessons: drawn clips with their sound, encoded once and kept as latents."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from multitalk.conditioning.audio import SAMPLE_RATE, encode_audio
from multitalk.conditioning.image import encode_image
from multitalk.models.video_vae import latent_frames

from . import progress
from .audio_encoder import make_audio_encoder, make_feature_extractor
from .encoders import make_image_encoder
from .faces import HELD_OUT_SEED, Motion, Scene, draw_frames, make_blinks, make_scene
from .fast_vae import FastVAE, make_vae
from .speech import Track, make_random_track, make_track
from .vae import to_tensor

WINDOW = 5
SHARD = 16
SHARDS = 144


@dataclass(frozen=True)
class Kind:
    """A kind of clip: how many people, how many frames, how many of them are known."""

    name: str
    people: int
    frames: int
    known: int


KINDS = {
    kind.name: kind
    for kind in (
        Kind("one", 1, 21, 1),
        Kind("two", 2, 21, 1),
        Kind("one_later", 1, 41, 25),
        Kind("two_later", 2, 41, 25),
    )
}
# which kinds follow each other, shard after shard
ORDER = ("one", "two", "one", "two", "one_later", "one", "two", "one", "two", "one", "two", "two_later")


def silent_track(seconds: float) -> Track:
    """Somebody who says nothing."""
    return make_track(np.zeros(int(seconds * SAMPLE_RATE), np.float32))


def choose_tracks(random: np.random.Generator, people: int, seconds: float) -> list[Track]:
    """Who speaks: one alone, both, one of two, or nobody."""
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
    """Draws and encodes clips with the networks trained so far."""

    def __init__(self) -> None:
        vae = make_vae()
        vae.load_state_dict(_need("vae")["model"])
        self.vae = FastVAE(vae)
        self.audio_encoder = make_audio_encoder().eval()
        self.audio_encoder.load_state_dict(_need("audio_encoder")["model"])
        self.extractor = make_feature_extractor()
        self.image_encoder = make_image_encoder()

    @torch.inference_mode()
    def make(self, kind: Kind, seed: int) -> dict[str, torch.Tensor]:
        """One clip, somewhere in a longer stretch of speech, as half-precision tensors.

        Returns:
            latents ``T' 16 h w`` and condition ``T' 16 h w`` (not normalised), image ``17 C``,
            audio ``P F 5 L C``, mouths ``T' h w`` (1 where a mouth is), silent (1 where nobody speaks).
        """
        random = np.random.default_rng([13, kind.people, kind.frames, seed])
        scene = make_scene(int(random.integers(HELD_OUT_SEED)), kind.people)
        seconds = 4.0
        tracks = choose_tracks(random, kind.people, seconds)
        start = int(random.integers(len(tracks[0].opening) - kind.frames + 1))
        if random.random() < 0.3:
            start = 0  # a video begins with the picture
        frames = draw_frames(scene, make_motions(random, tracks), range(start, start + kind.frames))
        video = to_tensor(frames)[None]
        with torch.autocast("cpu", torch.bfloat16):
            latents = self.vae.encode(video)[0]
            condition = self.vae.encode_condition(video[:, : kind.known], kind.frames)[0]
        return {
            "latents": latents.half(),
            "condition": condition.half(),
            "image": encode_image(self.image_encoder, video[0, kind.known - 1])[0].half(),
            "audio": self.hear(tracks, start, kind.frames).half(),
            "mouths": mouth_mask(scene, latent_frames(kind.frames)),
            "silent": torch.tensor(all(track.opening.max() == 0 for track in tracks)),
        }

    def hear(self, tracks: list[Track], start: int, frames: int) -> torch.Tensor:
        """Audio windows ``P F 5 L C`` of a stretch of every track."""
        features = [encode_audio(self.audio_encoder, self.extractor, track.samples) for track in tracks]
        places = torch.arange(start, start + frames)[:, None] + torch.arange(WINDOW) - WINDOW // 2
        return torch.stack([feature[places.clamp(0, len(feature) - 1)] for feature in features])


def make_motions(random: np.random.Generator, tracks: list[Track]) -> tuple[Motion, ...]:
    """Faces that say the tracks, and blink."""
    return tuple(
        Motion(track.opening, track.spread, make_blinks(random, len(track.opening)), random.uniform(0, 5))
        for track in tracks
    )


def mouth_mask(scene: Scene, frames: int) -> torch.Tensor:
    """``T' h w`` bool at latent size."""
    mask = torch.zeros(frames, scene.height // 8, scene.width // 8, dtype=torch.bool)
    for face in scene.faces:
        left, top, right, bottom = (round(value / 8) for value in face.mouth_box)
        mask[:, top : bottom + 1, left : right + 1] = True
    return mask


def _need(name: str) -> dict:
    state = progress.load(name)
    if state is None:
        raise SystemExit(f"Train the {name} first: there is no {name}.pt in {progress.WORK}.")
    return state


def shard_path(index: int) -> Path:
    """Where a shard lies."""
    return progress.WORK / "clips" / f"{index:04d}-{shard_kind(index).name}.pt"


def shard_kind(index: int) -> Kind:
    """What lies in a shard."""
    return KINDS[ORDER[index % len(ORDER)]]


def make_shards(first: int, count: int, step: int) -> None:
    """Make every `step`-th shard that isn't there."""
    (progress.WORK / "clips").mkdir(parents=True, exist_ok=True)
    maker = ClipMaker()
    for index in range(first, count, step):
        path = shard_path(index)
        if path.exists():
            continue
        kind = shard_kind(index)
        clips = [maker.make(kind, index * SHARD + number) for number in range(SHARD)]
        stacked = {name: torch.stack([clip[name] for clip in clips]) for name in clips[0]}
        torch.save(stacked, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
        print(path.name, flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--first", type=int, default=0, help="for several processes: the first shard ...")
    parser.add_argument("--step", type=int, default=1, help="... and the distance to the next")
    arguments = parser.parse_args()
    make_shards(arguments.first, arguments.shards, arguments.step)


if __name__ == "__main__":
    main()
