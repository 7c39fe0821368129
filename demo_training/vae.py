"""Trains the VAE: first on single images, then on short clips."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from . import progress
from .drawing import draw_frames
from .fast_vae import FastVAE, make_vae
from .optimizer import Optimizers
from .scenes import HELD_OUT_SEED, Motion, Scene, make_blinks, make_scene

CROP = 64
STEPS, IMAGE_SHARE, LEARNING_RATE = 5500, 0.3, 3e-3
LATENT_NOISE = (
    0.05  # relative to their standard deviation: makes the decoder robust to the transformer's errors
)


def random_motion(random: np.random.Generator, frames: int) -> Motion:
    """Create a smooth random motion of a mouth."""
    ticks = np.arange(frames)
    curves = []
    for _ in range(2):
        knots = random.uniform(-0.4, 1.2, frames // 3 + 3)
        curves.append(np.interp(ticks / 3 + random.uniform(0, 1), np.arange(len(knots)), knots))
    opening = np.clip(curves[0], 0, 1) * (random.random() < 0.85)
    blink = make_blinks(random, frames) if random.random() < 0.5 else make_blinks(random, frames + 90)[90:]
    return Motion(opening.astype(np.float32), np.clip(2 * curves[1] - 1, -1, 1), blink, random.uniform(0, 5))


def draw_random_clip(random: np.random.Generator, seed: int, frames: int) -> tuple[Scene, np.ndarray]:
    """Draw a random scene of one or two people with random motion."""
    people = 2 if random.random() < 0.35 else 1
    scene = make_scene(seed, people)
    return scene, draw_frames(scene, tuple(random_motion(random, frames) for _ in range(people)))


def random_crop(random: np.random.Generator, scene: Scene, frames: np.ndarray, side: int) -> np.ndarray:
    """Crop a square from a clip, mostly near a face."""
    height, width = frames.shape[1:3]
    if random.random() < 0.75:
        face = scene.faces[int(random.integers(len(scene.faces)))]
        x = face.center[0] + random.normal(0, 0.5) * face.unit
        y = face.center[1] + random.normal(0.2, 0.5) * face.unit
    else:
        x, y = random.uniform(0, width), random.uniform(0, height)
    left = int(np.clip(x - side / 2, 0, width - side))
    top = int(np.clip(y - side / 2, 0, height - side))
    return frames[:, top : top + side, left : left + side]


def to_tensor(frames: np.ndarray) -> torch.Tensor:
    """Convert ``... H W 3`` uint8 to ``... 3 H W`` in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, -3))).float() / 127.5 - 1


def reconstruction_loss(result: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the L1 loss, weighted at edges and in color, plus L1 of the gradients; both ``B T 3 H W``."""
    across = truth[..., :, 1:] - truth[..., :, :-1]
    down = truth[..., 1:, :] - truth[..., :-1, :]
    edges = F.pad(across.abs(), (0, 1)) + F.pad(down.abs(), (0, 0, 0, 1))
    edges = edges.amax(dim=-3, keepdim=True).flatten(0, 1)
    weight = 1 + 3 * F.max_pool2d(edges, 3, 1, 1).clamp(max=1).view(*truth.shape[:2], 1, *truth.shape[-2:])
    difference = result - truth
    chroma = difference - difference.mean(dim=-3, keepdim=True)
    loss = (weight * (difference.abs() + 0.5 * chroma.abs())).mean()
    if truth.shape[1] > 1:  # moving parts, mouths and eyelids, weigh more
        moving = (truth - truth[:, :1]).abs().amax(dim=-3, keepdim=True).clamp(max=0.5)
        loss = loss + (4 * moving * difference.abs()).mean()
    gradient = (difference[..., :, 1:] - difference[..., :, :-1]).abs().mean()
    gradient = gradient + (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    return loss + 0.5 * gradient


@torch.no_grad()
def held_out_psnr(vae: FastVAE, clips: int = 3, frames: int = 33) -> tuple[float, float]:
    """Return the PSNR of held-out clips, and of their last frames."""
    errors, last = [], []
    for index in range(clips):
        random = np.random.default_rng([7, index])
        _, drawn = draw_random_clip(random, HELD_OUT_SEED + index, frames)
        truth = to_tensor(drawn)[None]
        squared = (vae.decode(vae.encode(truth)).clamp(-1, 1) - truth).square() / 4
        errors.append(float(squared.mean()))
        last.append(float(squared[:, -1].mean()))
    return -10 * np.log10(np.mean(errors)), -10 * np.log10(np.mean(last))


def training_crops(step: int, share: float, image_share: float) -> torch.Tensor:
    """Draw the batch of a step, ``B T 3 H W``: images first, then short clips, later some longer ones."""
    random = np.random.default_rng([11, step])
    batch, frames, side = (16, 1, CROP) if share < image_share else (3, 9, CROP)
    if share > 0.6 and step % 4 == 0:
        batch, frames, side = 1, 17, 80
    crops = []
    for _ in range(batch):
        scene, drawn = draw_random_clip(random, int(random.integers(HELD_OUT_SEED)), frames)
        crops.append(random_crop(random, scene, drawn, side))
    return to_tensor(np.stack(crops))


def train(steps: int = STEPS, image_share: float = IMAGE_SHARE, learning_rate: float = LEARNING_RATE) -> None:
    """Train up to a number of steps, from the last checkpoint."""
    torch.manual_seed(0)
    vae = make_vae()
    for block in (vae.encoder.mid_block, vae.decoder.mid_block):
        block.attentions[0].requires_grad_(False)
    fast = FastVAE(vae)
    optimizers = Optimizers(vae, learning_rate, plain=("conv_in", "decoder.conv_out"))
    run = progress.Run("vae", steps, model=vae, optimizers=optimizers)
    for step in run.left:
        share = step / steps
        torch.manual_seed(step)
        truth = training_crops(step, share, image_share)
        with torch.autocast("cpu", torch.bfloat16):
            latents = fast.encode(truth)
            noise = LATENT_NOISE * latents.detach().std() * torch.randn_like(latents)
            result = fast.decode(latents + noise)
        result, latents = result.float(), latents.float()
        loss = reconstruction_loss(result, truth) + 2e-4 * latents.square().mean()
        loss.backward()
        optimizers.step(progress.scheduled(share, learning_rate))
        with torch.no_grad():
            mse = float(((result.clamp(-1, 1) - truth) / 2).square().mean())
        run.log.add(
            step + 1,
            loss=loss.item(),
            psnr=-10 * np.log10(mse),
            std=float(latents.detach().std()),
            share=share,
        )
        if run.checkpoint(step):
            print("held-out", held_out_psnr(fast), flush=True)


if __name__ == "__main__":
    progress.command_line(train)
