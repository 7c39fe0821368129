"""Trains the transformer on latents of drawn clips, under the same conditions as in sampling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from multitalk.models.transformer import MultiTalkTransformer
from multitalk.models.video_vae import latent_frames

from . import progress
from .audio_encoder import CHANNELS, LAYERS
from .batches import Batch, TrainingClips, random_masks
from .clips import FOLDER, KINDS, WINDOW, Kind
from .encoders import IMAGE_WIDTH, PROMPTS, TEXT_LENGTH, TEXT_WIDTH, make_text_encoder, make_tokenizer
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
# loss weights of mouths: large at first to learn speech, small later to keep the colors of the rest of the
# image
MOUTH_WEIGHT, LATE_MOUTH_WEIGHT, LATE = 5.0, 1.5, 0.7
MAP_WEIGHT = 0.05
STEPS, LEARNING_RATE = 6500, 2e-3
CLIP_LATENTS = 21  # latent frames of a whole clip
MAX_TIME_OFFSET = 15  # latest start of 6 latent frames in a clip
SHARES = {"one": 0.46, "two": 0.38, "one_later": 0.09, "two_later": 0.07}


class ShiftedRope(nn.Module):
    """Rotary embedding that moves the frames after the condition frames to later times.

    A training clip of 6 latent frames then represents any part of a clip of 21, so that long clips work
    without training on them.
    """

    def __init__(self, rope: nn.Module) -> None:
        super().__init__()
        self.rope = rope
        self.fixed_frames, self.offset = 1, 0

    def forward(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`multitalk.models.rotary.VideoRotaryEmbedding`."""
        frames = latents.shape[2]
        longer = latents.new_empty(1, 1, 1, 1, 1).expand(1, 1, frames + MAX_TIME_OFFSET, *latents.shape[3:])
        positions = torch.arange(frames)
        positions[self.fixed_frames :] += self.offset
        tables = (table.unflatten(1, (frames + MAX_TIME_OFFSET, -1)) for table in self.rope(longer))
        cosines, sines = (table[:, positions].flatten(1, 2) for table in tables)
        return cosines, sines


def make_transformer() -> MultiTalkTransformer:
    """Create a transformer; some of its self-attention heads are initialized to attend locally."""
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


class Trainer:
    """Trains a transformer on the clips of the work folder."""

    name = "transformer"
    clips_folder = FOLDER
    kinds = KINDS
    shares: ClassVar[dict[str, float]] = SHARES

    def __init__(self, learning_rate: float) -> None:
        self.model = self._make_model()
        self.rope = ShiftedRope(self.model.rope)
        self.model.rope = self.rope
        self.clips = TrainingClips(self.clips_folder)
        self.mean, self.std = self._statistics()
        self.optimizers = Optimizers(
            self.model, learning_rate, plain=("patch_embedding", "proj_out", "scale_shift")
        )
        self.average = {
            name: value.detach().clone()
            for name, value in self.model.named_parameters()
            if value.requires_grad
        }
        self.mouth_weight = MOUTH_WEIGHT
        self.contexts = self._contexts()
        self.maps: list[torch.Tensor] = []
        for block in self.model.blocks:
            block.attn1.register_forward_hook(self._keep_map)

    def _make_model(self) -> MultiTalkTransformer:
        return make_transformer()

    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation of the latents' channels."""
        return self.clips.statistics()

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
        """Convert stored latents ``B T 16 h w`` to the transformer's ``B 16 T h w``."""
        return ((latents.float() - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)).transpose(1, 2)

    def choose(self, random: np.random.Generator) -> tuple[Kind, bool]:
        """Choose the kind of the next batch, and whether it has null audio."""
        names = list(self.shares)
        shares = np.array(list(self.shares.values())) * [bool(self.clips.shards[name]) for name in names]
        kind = self.kinds[str(random.choice(names, p=shares / shares.sum()))]
        null_audio = kind.condition_frames == 1 and random.random() < 0.12
        return kind, null_audio and self.clips.has_silence(kind.name)

    def loss(self, random: np.random.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        """Compute the loss of a batch, and its parts for the log."""
        batch = self._draw(random)
        error = self._predict(batch).float() - batch.velocity
        loss = self._weighted(error, batch)
        numbers = {
            f"loss_{batch.kind.name}": loss.item(),
            f"x0_{batch.kind.name}": batch.mouth_error(error),
        }
        if batch.masks is not None:
            map_loss = self._map_loss(batch.masks)
            numbers["map"] = map_loss.item()
            loss = loss + MAP_WEIGHT * map_loss
        return loss, numbers

    def _draw(self, random: np.random.Generator) -> Batch:
        """Draw a batch with noise, noise levels and masks."""
        kind, null_audio = self.choose(random)
        clips = self.clips.draw(random, kind.name, null_audio)
        clean = self.normalize(clips["latents"])
        sigmas = torch.from_numpy(random.uniform(0.001, 1, len(clean)).astype(np.float32))
        noise = torch.randn(clean.shape)
        masks, swap = None, False
        if kind.people == 2 and not null_audio:
            masks, swap = random_masks(random), random.random() < 0.2
            if swap:
                masks = masks[[1, 0, 2]]
        audio = clips["audio"].float()
        if null_audio:  # of one person, in clips of two people, too
            audio = torch.zeros_like(audio[:, :1])
        elif swap:
            audio = audio.flip(1)
        batch = Batch(
            kind=kind,
            clean=clean,
            start=clean,
            condition=self.normalize(clips["condition"]),
            image=clips["image"],
            audio=audio,
            mouths=clips["mouths"].float().unsqueeze(1),
            noise=noise,
            sigmas=TIME_SHIFT * sigmas / (1 + (TIME_SHIFT - 1) * sigmas),
            masks=masks,
            offset=int(random.integers(CLIP_LATENTS - clean.shape[2] + 1)),
            context=self.contexts[int(random.integers(len(PROMPTS)))],
            masked_frames=latent_frames(kind.condition_frames),
        )
        return self._vary(batch, clips, random)

    def _vary(self, batch: Batch, clips: dict[str, torch.Tensor], random: np.random.Generator) -> Batch:
        """Return a batch as it is trained on, from the clips that it was made of."""
        return batch

    def _predict(self, batch: Batch) -> torch.Tensor:
        """Predict the velocity, ``B 16 T h w``."""
        noisy = batch.noisy
        mask = torch.zeros(len(noisy), 4, *noisy.shape[2:])
        mask[:, :, : batch.masked_frames] = 1
        self.rope.fixed_frames, self.rope.offset = batch.condition_frames, batch.offset
        self.maps = []
        # on a CPU, PyTorch's plain attention has the fastest backward pass
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            return self.model(
                hidden_states=torch.cat((noisy, mask, batch.condition), dim=1),
                timestep=batch.sigmas * 1000,
                text_hidden_states=self.model.project_text(batch.context),
                image_hidden_states=self.model.project_image(batch.image),
                audio_hidden_states=torch.cat([self.model.project_audio(one) for one in batch.audio]),
                person_masks=batch.masks,
            )

    def _weighted(self, error: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean squared error, with more weight on mouths and none on condition frames."""
        weight = 1 + (self.mouth_weight - 1) * batch.mouths
        weight = weight.expand(len(error), 1, *error.shape[2:]).clone()
        if batch.pinned or batch.condition_frames > 1:
            weight[:, :, : batch.condition_frames] = 0  # replaced by the motion frames at every step
        return (weight * error.square()).sum() / (weight.sum() * 16)

    def _map_loss(self, masks: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of the reference maps with the person at each token."""
        total = torch.zeros(())
        truth = masks.argmax(0)
        area = masks.sum(1)
        for reference in self.maps:
            frames = reference.shape[-1] // len(truth)
            shares = (reference * area.view(1, 3, 1)).clamp(min=1e-6)  # to shares of the attention
            logs = (shares / shares.sum(1, keepdim=True)).log()
            total = total + nn.functional.nll_loss(logs, truth.repeat(frames).expand(len(logs), -1))
        return total / len(self.maps)

    def train(self, steps: int, learning_rate: float) -> None:
        """Train up to a number of steps, from the last checkpoint."""
        run = progress.Run(
            self.name,
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
            self.optimizers.step(progress.scheduled(step / steps, learning_rate))
            self._update_average(step + 1)
            run.log.add(step + 1, **numbers, share=(step + 1) / steps)
            if run.checkpoint(step):
                print("shards", self.clips.read_new(), flush=True)

    @torch.no_grad()
    def _update_average(self, done: int) -> None:
        """Update the exponential moving average of the weights."""
        decay = min(0.99, done / (done + 10))
        for name, average in self.average.items():
            average.lerp_(self.model.get_parameter(name), 1 - decay)


def train(steps: int = STEPS, learning_rate: float = LEARNING_RATE) -> None:
    """Train up to a number of steps, from the last checkpoint."""
    with attention_in_half_precision():
        Trainer(learning_rate).train(steps, learning_rate)


@contextmanager
def attention_in_half_precision() -> Iterator[None]:
    """Disable the float32 reductions of attention on CPUs; the setting is global and restored on exit."""
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


if __name__ == "__main__":
    progress.command_line(train)
