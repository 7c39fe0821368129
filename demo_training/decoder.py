"""Fine-tunes the decoder on long clips for stable colors; the encoder is frozen.

The VAE is trained on clips of at most 17 frames, but the receptive field of its convolutions is much longer.
Without this step, hair and clothes slowly change their tint in long clips.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from . import progress
from .fast_vae import FastVAE, make_vae
from .optimizer import Optimizers
from .scenes import HELD_OUT_SEED
from .vae import LATENT_NOISE, draw_random_clip, held_out_psnr, random_crop, reconstruction_loss, to_tensor

STEPS, LEARNING_RATE = 3000, 1e-3
LENGTHS = {41: 64, 81: 48}  # frames of a clip, and the side of the crop taken from it
WINDOW = 20  # frames after the first in a training clip of the transformer
TINT_PATCH, TINT_WEIGHT = 16, 1.0  # patch side in pixels for mean colors, and the weight of the loss


def training_crop(step: int) -> torch.Tensor:
    """Draw the training clip of a step, ``1 T 3 H W``."""
    random = np.random.default_rng([19, step])
    frames = 81 if step % 4 == 0 else 41
    scene, drawn = draw_random_clip(random, int(random.integers(HELD_OUT_SEED)), frames)
    return to_tensor(random_crop(random, scene, drawn, LENGTHS[frames]))[None]


def encode_windows(vae: FastVAE, frames: torch.Tensor) -> torch.Tensor:
    """Encode ``B T 3 H W`` to latents ``B T' 16 h w`` in short windows.

    The transformer's training clips are encoded in the same way, each from its own first frame.
    """
    starts = range(0, frames.shape[1] - 1, WINDOW)
    windows = [vae.encode(frames[:, start : start + WINDOW + 1]) for start in starts]
    return torch.cat([windows[0][:, :1], *(window[:, 1:] for window in windows)], dim=1)


def tint_loss(result: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the mean error of patches' mean colors; both ``B T 3 H W``."""
    return F.avg_pool2d((result - truth).flatten(0, 1), TINT_PATCH).abs().mean()


def train(steps: int = STEPS, learning_rate: float = LEARNING_RATE) -> None:
    """Train up to a number of steps, from the last checkpoint."""
    torch.manual_seed(0)
    vae = make_vae()
    vae.load_state_dict(progress.require("vae")["model"])
    for part in (vae.encoder, vae.quant_conv, vae.decoder.mid_block.attentions):
        part.requires_grad_(False)
    fast = FastVAE(vae)
    optimizers = Optimizers(vae, learning_rate, plain=("conv_in", "decoder.conv_out"))
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
        optimizers.step(progress.scheduled(step / steps, learning_rate))
        mse = float(((result.detach().clamp(-1, 1) - truth) / 2).square().mean())
        run.log.add(step + 1, tint=tint.item(), psnr=-10 * np.log10(mse), share=step / steps)
        if run.checkpoint(step):
            print("held-out", held_out_psnr(fast, frames=81), flush=True)


if __name__ == "__main__":
    progress.command_line(train)
