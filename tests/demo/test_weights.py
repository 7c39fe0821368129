"""The folder of embedded weights: location, contents and size."""

from __future__ import annotations

import numpy as np
import torch

from demo_training.fast_vae import FastVAE
from demo_training.vae import held_out_psnr
from multitalk.media.picture import read_picture
from multitalk.models.video_vae import decode_latents, encode_condition
from multitalk.runtime.environment import find_weights
from multitalk.weights.folders import EMBEDDED_FOLDER
from multitalk.weights.verify import verify
from tests.demo.paths import EXAMPLES

MEGABYTES = 1e6


def test_embedded_weights_are_the_default(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MULTITALK_WEIGHTS", raising=False)
    assert find_weights(None) == EMBEDDED_FOLDER


def test_embedded_weights_are_complete_and_small():
    assert not list(verify(EMBEDDED_FOLDER))
    size = sum(path.stat().st_size for path in EMBEDDED_FOLDER.rglob("*") if path.is_file())
    assert size < 40 * MEGABYTES


def test_the_vae_reconstructs_held_out_clips(demo):
    whole, last = held_out_psnr(FastVAE(demo.components.vae), clips=1, frames=81)
    assert whole >= 27
    assert last >= whole - 1


def test_the_fast_vae_of_the_training_equals_the_vae(demo):
    """Encoding and decoding in training against the layers that the pipeline runs."""
    vae = demo.components.vae
    fast = FastVAE(vae)
    picture = torch.from_numpy(np.asarray(read_picture(EXAMPLES / "one_person.png").resize((64, 64))).copy())
    frames = (picture.permute(2, 0, 1).float() / 127.5 - 1)[:, None].repeat(1, 5, 1, 1)
    mean, std = (torch.tensor(vae.config[f"latents_{name}"]).view(-1, 1, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        normalised = encode_condition(vae, frames, 17)
        expected = fast.encode_condition(frames.transpose(0, 1)[None], 17)[0].transpose(0, 1)
        decoded = torch.cat(list(decode_latents(vae, normalised)), dim=1)
        expected_frames = fast.decode((normalised * std + mean).transpose(0, 1)[None])[0].transpose(0, 1)
    torch.testing.assert_close(normalised * std + mean, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(decoded, expected_frames.clamp(-1, 1), rtol=1e-3, atol=1e-3)
