"""Trains the transformer on latents of drawn clips, under the conditions it meets when a video is made."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from multitalk.conditioning.people import person_masks, token_masks
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.models.video_vae import latent_frames

from . import progress
from .audio_encoder import CHANNELS, LAYERS
from .clips import KINDS, WINDOW, Kind
from .encoders import IMAGE_WIDTH, PROMPTS, TEXT_LENGTH, TEXT_WIDTH, make_text_encoder, make_tokenizer
from .faces import HEIGHT
from .optimizer import Optimizers

CONFIG = {
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "in_channels": 36,
    "out_channels": 16,
    "text_dim": TEXT_WIDTH,
    "text_len": TEXT_LENGTH,
    "freq_dim": 128,
    "ffn_dim": 512,
    "num_layers": 6,
    "image_dim": IMAGE_WIDTH,
    "rope_max_seq_len": 256,
    "audio_window": WINDOW,
    "audio_layers": LAYERS,
    "audio_channels": CHANNELS,
    "audio_hidden_dim": 128,
    "audio_tokens": 4,
    "audio_dim": 64,
}
LOCAL_HEADS = 2
TIME_SHIFT = 2.5
# how much a mouth counts: first it must learn to speak, then the rest of the picture must keep its colours
MOUTH_WEIGHT, LATE_MOUTH_WEIGHT, LATE = 5.0, 1.5, 0.7
MAP_WEIGHT = 0.05
STEPS, LEARNING_RATE = 6500, 2e-3
CLIP_LATENTS = 21  # latent frames of a whole clip
MAX_TIME_OFFSET = 15  # 6 latent frames at most this far from the first cover a whole clip
BATCH = {"one": 4, "two": 3, "one_later": 2, "two_later": 2}
SHARES = {"one": 0.46, "two": 0.38, "one_later": 0.09, "two_later": 0.07}


class ShiftedRope(nn.Module):
    """The video's rotary table with the frames after the first few moved to later times.

    A clip of 6 latent frames then stands for any stretch of one of 21: that is what makes long clips work
    without training on them.
    """

    def __init__(self, rope: nn.Module) -> None:
        super().__init__()
        self.rope = rope
        self.kept, self.offset = 1, 0

    def forward(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As :class:`multitalk.models.rotary.VideoRotaryEmbedding`."""
        frames = latents.shape[2]
        longer = latents.new_empty(1, 1, 1, 1, 1).expand(1, 1, frames + MAX_TIME_OFFSET, *latents.shape[3:])
        places = torch.arange(frames)
        places[self.kept :] += self.offset
        tables = (table.unflatten(1, (frames + MAX_TIME_OFFSET, -1)) for table in self.rope(longer))
        cosines, sines = (table[:, places].flatten(1, 2) for table in tables)
        return cosines, sines


def make_transformer() -> MultiTalkTransformer:
    """A new transformer, some of whose self-attention heads look at their own place in the picture."""
    torch.manual_seed(103)
    model = MultiTalkTransformer(**CONFIG)
    heads, width = CONFIG["num_attention_heads"], CONFIG["attention_head_dim"]
    spatial = 2 * (width // 6)
    time_dims = width - 2 * spatial
    # the two fastest frequencies of rows and columns
    local = [time_dims + axis * spatial + dim for axis in range(2) for dim in range(4)]
    dims = [head * width + dim for head in range(heads - LOCAL_HEADS, heads) for dim in local]
    with torch.no_grad():
        for block in model.blocks:
            for linear, norm in (
                (block.attn1.to_q, block.attn1.norm_q),
                (block.attn1.to_k, block.attn1.norm_k),
            ):
                linear.weight[dims] *= 0.1
                linear.bias[dims] = 3.0
                norm.weight[dims] = 2.0
            block.audio_attn.to_out.weight *= 0.5
        model.proj_out.weight *= 0.1
    return model


class Lessons:
    """Shards on disk, kept in memory as they appear."""

    def __init__(self) -> None:
        self.folder = progress.WORK / "clips"
        self.shards: dict[str, list[dict[str, torch.Tensor]]] = {name: [] for name in KINDS}
        self.seen: set[Path] = set()
        self.read_new()
        if not self.shards["one"]:
            raise SystemExit(f"There are no clips in {self.folder}: make some first.")

    def read_new(self) -> int:
        """Read shards that have come since; returns how many there are."""
        for path in sorted(self.folder.glob("*.pt")):
            if path not in self.seen:
                self.seen.add(path)
                self.shards[path.stem.split("-")[1]].append(torch.load(path))
        return len(self.seen)

    def has_silence(self, kind: str) -> bool:
        """Whether there is a clip of that kind in which nobody speaks."""
        return any(bool(shard["silent"].any()) for shard in self.shards[kind])

    def draw(self, random: np.random.Generator, kind: str, silent: bool | None) -> dict[str, torch.Tensor]:
        """A batch of a kind; with `silent`, of clips in which nobody speaks."""
        drawn: list[dict[str, torch.Tensor]] = []
        while len(drawn) < BATCH[kind]:
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
        """Mean and standard deviation of the latents' channels."""
        latents = [
            shard["latents"].float().flatten(0, 1) for shard in self.shards["one"] + self.shards["two"]
        ]
        channels = torch.cat([part.transpose(0, 1).flatten(1) for part in latents], dim=1)
        return channels.mean(1), channels.std(1)


def random_masks(random: np.random.Generator) -> torch.Tensor:
    """Token masks of two people for a whole batch: the halves, or boxes about as large."""
    height, width = HEIGHT, HEIGHT * 3 // 2
    boxes = None
    if random.random() < 0.4:
        edge, gap = random.uniform(0, 0.12, 2) * width
        top, bottom = random.uniform(0, 0.2) * height, random.uniform(0.75, 1) * height
        left, right = 0.49 * width - gap, 0.51 * width + gap
        boxes = {"person1": (edge, top, left, bottom), "person2": (right, top, width - edge, bottom)}
    return token_masks(person_masks(height, width, height, width, boxes))


@dataclass(frozen=True)
class Lesson:
    """A batch of clips of one kind, noised.

    Attributes:
        kind: Of its clips.
        clean, noise, condition: ``B 16 T h w``.
        image: What CLIP sees of the picture.
        audio: Features of everybody, ``B P F W L C``.
        mouths: How much of a token is a mouth, ``B 1 T h w``.
        time_share: How much is noise, ``B``.
        masks: Who is where, or None.
        offset: Of its first frame in the rotary table.
        context: A prompt, encoded.
    """

    kind: Kind
    clean: torch.Tensor
    noise: torch.Tensor
    condition: torch.Tensor
    image: torch.Tensor
    audio: torch.Tensor
    mouths: torch.Tensor
    time_share: torch.Tensor
    masks: torch.Tensor | None
    offset: int
    context: torch.Tensor

    @property
    def known(self) -> int:
        """Latent frames that are given."""
        return latent_frames(self.kind.known)

    @property
    def share(self) -> torch.Tensor:
        """How much is noise, ``B 1 1 1 1``."""
        return self.time_share.view(-1, 1, 1, 1, 1)


def mouth_error(error: torch.Tensor, lesson: Lesson) -> float:
    """Mean squared error of x0 at the mouths: what is seen of the velocity's error."""
    seen = (lesson.share * error).square().mean(1, keepdim=True)[:, :, lesson.known :]
    mouths = lesson.mouths[:, :, lesson.known :]
    return (seen * mouths).sum().item() / mouths.sum().item()


class Trainer:
    """One model and what it learns from."""

    def __init__(self, peak: float) -> None:
        self.model = make_transformer()
        self.rope = ShiftedRope(self.model.rope)
        self.model.rope = self.rope
        self.lessons = Lessons()
        self.mean, self.std = self.lessons.statistics()
        self.optimizers = Optimizers(self.model, peak, plain=("patch_embedding", "proj_out", "scale_shift"))
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.mouth_weight = MOUTH_WEIGHT
        self.contexts = self._contexts()
        self.maps: list[torch.Tensor] = []
        for block in self.model.blocks:
            block.attn1.register_forward_hook(self._keep_map)

    def _keep_map(self, module: nn.Module, inputs: tuple, output: tuple) -> None:
        if output[1] is not None:
            self.maps.append(output[1])

    @staticmethod
    @torch.no_grad()
    def _contexts() -> list[torch.Tensor]:
        tokenizer = make_tokenizer()
        encoder = make_text_encoder(len(tokenizer))
        ids = [tokenizer(text, truncation=True, max_length=TEXT_LENGTH).input_ids for text in PROMPTS]
        return [encoder(input_ids=torch.tensor([one])).last_hidden_state for one in ids]

    def normalize(self, latents: torch.Tensor) -> torch.Tensor:
        """``B T 16 h w`` as stored to ``B 16 T h w`` as the transformer sees it."""
        return ((latents.float() - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)).transpose(1, 2)

    def choose(self, random: np.random.Generator) -> tuple[Kind, bool]:
        """The kind of the next batch, and whether it is one without sound."""
        names = list(SHARES)
        shares = np.array(list(SHARES.values())) * [bool(self.lessons.shards[name]) for name in names]
        kind = KINDS[str(random.choice(names, p=shares / shares.sum()))]
        null_audio = kind.known == 1 and random.random() < 0.12
        return kind, null_audio and self.lessons.has_silence(kind.name)

    def loss(self, random: np.random.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of one batch, and its parts as numbers for the log."""
        lesson = self._draw(random)
        prediction = self._predict(lesson)
        error = prediction.float() - (lesson.noise - lesson.clean)
        loss = self._weighted(error, lesson)
        numbers = {
            f"loss_{lesson.kind.name}": loss.item(),
            f"x0_{lesson.kind.name}": mouth_error(error, lesson),
        }
        if lesson.masks is not None:
            map_loss = self._map_loss(lesson.masks)
            numbers["map"] = map_loss.item()
            loss = loss + MAP_WEIGHT * map_loss
        return loss, numbers

    def _draw(self, random: np.random.Generator) -> Lesson:
        """A batch, with its noise, its time and who is where."""
        kind, null_audio = self.choose(random)
        batch = self.lessons.draw(random, kind.name, null_audio)
        clean = self.normalize(batch["latents"])
        time_share = torch.from_numpy(random.uniform(0.001, 1, len(clean)).astype(np.float32))
        noise = torch.randn(clean.shape)
        masks, swap = None, False
        if kind.people == 2 and not null_audio:
            masks, swap = random_masks(random), random.random() < 0.2
            if swap:
                masks = masks[[1, 0, 2]]
        audio = batch["audio"].float()
        if null_audio:  # one person's, however many there are
            audio = torch.zeros_like(audio[:, :1])
        elif swap:
            audio = audio.flip(1)
        return Lesson(
            kind=kind,
            clean=clean,
            condition=self.normalize(batch["condition"]),
            image=batch["image"],
            audio=audio,
            mouths=batch["mouths"].float().unsqueeze(1),
            noise=noise,
            time_share=TIME_SHIFT * time_share / (1 + (TIME_SHIFT - 1) * time_share),
            masks=masks,
            offset=int(random.integers(CLIP_LATENTS - clean.shape[2] + 1)),
            context=self.contexts[int(random.integers(len(PROMPTS)))],
        )

    def _predict(self, lesson: Lesson) -> torch.Tensor:
        """The model's velocity, ``B 16 T h w``."""
        share = lesson.share
        noisy = (1 - share) * lesson.clean + share * lesson.noise
        mask = torch.zeros(len(noisy), 4, *noisy.shape[2:])
        mask[:, :, : lesson.known] = 1
        self.rope.kept, self.rope.offset = lesson.known, lesson.offset
        self.maps = []
        # of PyTorch's attentions on a CPU the plain one has the fastest backward pass
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            return self.model(
                hidden_states=torch.cat((noisy, mask, lesson.condition), dim=1),
                timestep=lesson.time_share * 1000,
                text_hidden_states=self.model.project_text(lesson.context),
                image_hidden_states=self.model.project_image(lesson.image),
                audio_hidden_states=torch.cat([self.model.project_audio(one) for one in lesson.audio]),
                person_masks=lesson.masks,
            )

    def _weighted(self, error: torch.Tensor, lesson: Lesson) -> torch.Tensor:
        """Mean squared error, mouths counted more, motion frames not at all."""
        weight = 1 + (self.mouth_weight - 1) * lesson.mouths
        weight = weight.expand(len(error), 1, *error.shape[2:]).clone()
        if lesson.known > 1:
            weight[:, :, : lesson.known] = 0  # overwritten with the motion frames at every step
        return (weight * error.square()).sum() / (weight.sum() * 16)

    def _map_loss(self, masks: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the reference maps: a token should look most at who is where it is."""
        total = torch.zeros(())
        truth = masks.argmax(0)
        area = masks.sum(1)
        for reference in self.maps:
            frames = reference.shape[-1] // len(truth)
            shares = (reference * area.view(1, 3, 1)).clamp(min=1e-6)  # back to shares of the attention
            logs = (shares / shares.sum(1, keepdim=True)).log()
            total = total + nn.functional.nll_loss(logs, truth.repeat(frames).expand(len(logs), -1))
        return total / len(self.maps)

    def train(self, steps: int, peak: float) -> None:
        """Train up to so many steps, from the last checkpoint on."""
        run = progress.Run(
            "transformer",
            steps,
            model=self.model,
            optimizers=self.optimizers,
            average=progress.Values(self.average),
            statistics=progress.Values({"mean": self.mean, "std": self.std}),
        )
        for step in run.left:
            torch.manual_seed(step)
            self.mouth_weight = MOUTH_WEIGHT if step < LATE * steps else LATE_MOUTH_WEIGHT
            loss, numbers = self.loss(np.random.default_rng([17, step]))
            loss.backward()
            self.optimizers.step(progress.learning_rate(step / steps, peak))
            self._follow(step + 1)
            run.log.add(step + 1, **numbers, share=(step + 1) / steps)
            if run.checkpoint(step):
                print("shards", self.lessons.read_new(), flush=True)

    @torch.no_grad()
    def _follow(self, done: int) -> None:
        """Bring the average nearer to the weights."""
        decay = min(0.99, done / (done + 10))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)


def train(steps: int, peak: float) -> None:
    """Train up to so many steps, from the last checkpoint on."""
    with _attention_without_float32():
        Trainer(peak).train(steps, peak)


@contextmanager
def _attention_without_float32() -> Iterator[None]:
    """Attention of CPUs makes no detour through float32; the setting is the whole process's, so put back."""
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--lr", type=float, default=LEARNING_RATE)
    arguments = parser.parse_args()
    train(arguments.steps, arguments.lr)


if __name__ == "__main__":
    main()
