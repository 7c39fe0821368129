"""Training batches of the transformer: clips from disk, with noise, people's masks and a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from multitalk.conditioning.people import person_masks, token_masks
from multitalk.models.video_vae import latent_frames

from . import progress
from .clips import Kind
from .scenes import HEIGHT

BATCH_SIZES = {"one": 4, "two": 3, "one_later": 2, "two_later": 2}


class TrainingClips:
    """Shards of clips on disk, kept in memory.

    Args:
        folder: Name of their folder in the work folder, and of the module that makes them.
    """

    def __init__(self, folder: str) -> None:
        self.folder = progress.WORK / folder
        self.shards: dict[str, list[dict[str, torch.Tensor]]] = {name: [] for name in BATCH_SIZES}
        self.loaded: set[Path] = set()
        self.read_new()
        if not self.shards["one"]:
            raise SystemExit(f"{self.folder} has no clips. Run python -m demo_training.{folder} first.")

    def read_new(self) -> int:
        """Read shards that were added to the folder; return the number of all shards."""
        for path in sorted(self.folder.glob("*.pt")):
            if path not in self.loaded:
                self.loaded.add(path)
                self.shards[path.stem.split("-")[1]].append(torch.load(path))
        return len(self.loaded)

    def has_silence(self, kind: str) -> bool:
        """Return whether there is a clip of a kind in which nobody speaks."""
        return any(bool(shard["silent"].any()) for shard in self.shards[kind])

    def draw(self, random: np.random.Generator, kind: str, silent: bool | None) -> dict[str, torch.Tensor]:
        """Draw a random batch of a kind; with `silent`, only clips in which nobody speaks."""
        drawn: list[dict[str, torch.Tensor]] = []
        while len(drawn) < BATCH_SIZES[kind]:
            shard = self.shards[kind][int(random.integers(len(self.shards[kind])))]
            index = int(random.integers(len(shard["latents"])))
            if silent and not bool(shard["silent"][index]):
                silents = shard["silent"].nonzero().flatten()
                if not len(silents):
                    continue
                index = int(silents[int(random.integers(len(silents)))])
            drawn.append({name: values[index] for name, values in shard.items()})
        return {name: torch.stack([clip[name] for clip in drawn]) for name in drawn[0]}

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation of the latents' channels."""
        latents = [
            shard["latents"].float().flatten(0, 1) for shard in self.shards["one"] + self.shards["two"]
        ]
        channels = torch.cat([part.transpose(0, 1).flatten(1) for part in latents], dim=1)
        return channels.mean(1), channels.std(1)


def random_masks(random: np.random.Generator) -> torch.Tensor:
    """Create token masks of two people for a batch: the default boxes, or random boxes of similar size."""
    height, width = HEIGHT, HEIGHT * 3 // 2
    boxes = None
    if random.random() < 0.4:
        edge, gap = random.uniform(0, 0.12, 2) * width
        top, bottom = random.uniform(0, 0.2) * height, random.uniform(0.75, 1) * height
        left, right = 0.49 * width - gap, 0.51 * width + gap
        boxes = {"person1": (edge, top, left, bottom), "person2": (right, top, width - edge, bottom)}
    return token_masks(person_masks(height, width, height, width, boxes))


@dataclass(frozen=True)
class Batch:
    """A batch of clips of one kind, and the noise that is added to it.

    Attributes:
        kind: Kind of the clips.
        clean, noise, condition: ``B 16 T h w``.
        start: The latents that are noised, ``B 16 T h w``: the clean ones, or those of a dubbed video.
        image: CLIP features of the last condition frame.
        audio: Audio windows of all people, ``B P F W L C``.
        mouths: Mask of the mouths, ``B 1 T h w``.
        sigmas: Noise levels, ``B``.
        masks: Token masks of two people, or None.
        offset: Time of the first frame in the rotary table.
        context: Encoded prompt.
        masked_frames: Number of latent frames that the mask of the condition marks as given.
        pinned: Whether the leading latent frames are clean, and stay so in sampling.
    """

    kind: Kind
    clean: torch.Tensor
    noise: torch.Tensor
    start: torch.Tensor
    condition: torch.Tensor
    image: torch.Tensor
    audio: torch.Tensor
    mouths: torch.Tensor
    sigmas: torch.Tensor
    masks: torch.Tensor | None
    offset: int
    context: torch.Tensor
    masked_frames: int
    pinned: bool = False

    @property
    def condition_frames(self) -> int:
        """Number of latent frames that are given."""
        return latent_frames(self.kind.condition_frames)

    @property
    def sigma(self) -> torch.Tensor:
        """Noise levels, ``B 1 1 1 1``."""
        return self.sigmas.view(-1, 1, 1, 1, 1)

    @property
    def noisy(self) -> torch.Tensor:
        """What is denoised, ``B 16 T h w``."""
        noisy = (1 - self.sigma) * self.start + self.sigma * self.noise
        if self.pinned:
            noisy[:, :, : self.condition_frames] = self.clean[:, :, : self.condition_frames]
        return noisy

    @property
    def velocity(self) -> torch.Tensor:
        """The velocity from the noisy latents to the clean ones, ``B 16 T h w``."""
        return self.noise - self.clean + (1 - self.sigma) / self.sigma * (self.start - self.clean)

    def mouth_error(self, error: torch.Tensor) -> float:
        """Return the mean squared error of x0 at the mouths for an error of the velocity."""
        squared = (self.sigma * error).square().mean(1, keepdim=True)[:, :, self.condition_frames :]
        mouths = self.mouths[:, :, self.condition_frames :]
        return (squared * mouths).sum().item() / mouths.sum().item()
