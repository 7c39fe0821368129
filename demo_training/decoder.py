"""Trains the decoder on for long clips, so that colours hold in them; the encoder stays as it is.

The autoencoder learns from clips of at most 17 frames. Its convolutions see much further into the past, so
what they make of a whole clip is nothing they were taught: hair and clothes slowly changed their tint.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch.nn.functional as F

from . import progress
from .faces import HELD_OUT_SEED
from .fast_vae import FastVAE, make_vae
from .optimizer import Optimizers
from .vae import LATENT_NOISE, draw_random_clip, held_out_psnr, random_crop, reconstruction_loss, to_tensor

STEPS, LEARNING_RATE = 3000, 1e-3
LENGTHS = {41: 64, 81: 48}  # frames of a clip, and the side of the crop taken from it
WINDOW = 20  # frames that a lesson of the transformer adds to its first
TINT_PATCH, TINT_WEIGHT = 16, 1.0  # pixels over which colours must agree on average, and how much that counts


def training_crop(step: int) -> torch.Tensor:
    """The clip of a step, ``1 T 3 H W``."""
    random = np.random.default_rng([19, step])
    frames = 81 if step % 4 == 0 else 41
    scene, drawn = draw_random_clip(random, int(random.integers(HELD_OUT_SEED)), frames)
    return to_tensor(random_crop(random, scene, drawn, LENGTHS[frames]))[None]


def encode_windows(vae: FastVAE, frames: torch.Tensor) -> torch.Tensor:
    """Latents ``B T' 16 h w`` of ``B T 3 H W`` as the transformer makes them.

    Its lessons are short clips, each encoded from its own first frame, that stand for any stretch of a long
    one.
    """
    starts = range(0, frames.shape[1] - 1, WINDOW)
    windows = [vae.encode(frames[:, start : start + WINDOW + 1]) for start in starts]
    return torch.cat([windows[0][:, :1], *(window[:, 1:] for window in windows)], dim=1)


def tint_loss(result: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """How far colours are off on average over patches; both ``B T 3 H W``."""
    return F.avg_pool2d((result - truth).flatten(0, 1), TINT_PATCH).abs().mean()


def train(steps: int, peak: float) -> None:
    """Train up to so many steps, from the last checkpoint on."""
    torch.manual_seed(0)
    vae = make_vae()
    state = progress.load("vae")
    if state is None:
        raise SystemExit(f"Train the vae first: there is no vae.pt in {progress.WORK}.")
    vae.load_state_dict(state["model"])
    for part in (vae.encoder, vae.quant_conv, vae.decoder.mid_block.attentions):
        part.requires_grad_(False)
    fast = FastVAE(vae)
    optimizers = Optimizers(vae, peak, plain=("conv_in", "decoder.conv_out"))
    run = progress.Run("decoder", steps, model=vae, optimizers=optimizers)
    for step in run.left:
        torch.manual_seed(step)
        truth = training_crop(step)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                latents = encode_windows(fast, truth) if step % 3 else fast.encode(truth)
            noise = LATENT_NOISE * latents.std() * torch.randn_like(latents)
            result = fast.decode(latents + noise).float()
        tint = tint_loss(result, truth)
        (reconstruction_loss(result, truth) + TINT_WEIGHT * tint).backward()
        optimizers.step(progress.learning_rate(step / steps, peak))
        mse = float(((result.detach().clamp(-1, 1) - truth) / 2).square().mean())
        run.log.add(step + 1, tint=tint.item(), psnr=-10 * np.log10(mse), share=step / steps)
        if run.checkpoint(step):
            print("held-out", held_out_psnr(fast, frames=81), flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--lr", type=float, default=LEARNING_RATE)
    arguments = parser.parse_args()
    train(arguments.steps, arguments.lr)


if __name__ == "__main__":
    main()
