"""Trains the audio encoder to predict loudness, brightness and spectrum of speech."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from multitalk.conditioning.audio import SAMPLE_RATE, encode_audio

from . import progress
from .speech import Track, make_random_track

LAYERS, CHANNELS = 4, 64
BANDS = 12
STEPS, TRACKS, LEARNING_RATE = 2500, 240, 2e-3


def make_audio_encoder() -> Wav2Vec2Model:
    """Create a smaller version of the published encoder."""
    config = Wav2Vec2Config(
        hidden_size=CHANNELS,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=(32, 32, 32, 32, 48, 48, 48),
        conv_stride=(5, 2, 2, 2, 2, 2, 2),
        conv_kernel=(10, 3, 3, 3, 3, 2, 2),
        feat_extract_norm="group",
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
    )
    return Wav2Vec2Model(config)


def make_feature_extractor() -> Wav2Vec2FeatureExtractor:
    """Create the published encoder's normalization: zero mean, unit variance."""
    return Wav2Vec2FeatureExtractor(
        feature_size=1,
        sampling_rate=SAMPLE_RATE,
        padding_value=0.0,
        do_normalize=True,
        return_attention_mask=False,
    )


def targets_of(track: Track) -> torch.Tensor:
    """Return the training targets per video frame: opening, spread, and log energies of bands."""
    hop = SAMPLE_RATE // 25
    frames = len(track.opening)
    padded = np.pad(track.samples, (hop // 2, 2 * hop))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop][:frames]
    power = np.abs(np.fft.rfft(windows * np.hanning(2 * hop), axis=1)) ** 2
    edges = np.geomspace(4, power.shape[1] - 1, BANDS + 1).astype(int)
    bands = np.stack([power[:, a : b + 1].mean(1) for a, b in itertools.pairwise(edges)], 1)
    bands = (np.log(bands + 1e-3) + 2) / 5
    values = np.concatenate([track.opening[:, None], track.spread[:, None], 0.3 * bands], axis=1)
    return torch.from_numpy(values.astype(np.float32))


def arrange(track: Track, random: np.random.Generator) -> Track:
    """Randomly add long silence around a track, as when a person waits for the other one."""
    before, after = (int(random.uniform(0, 3) * SAMPLE_RATE) * int(random.random() < 0.3) for _ in range(2))
    frames = before // (SAMPLE_RATE // 25)
    before = frames * (SAMPLE_RATE // 25)
    samples = np.pad(track.samples, (before, after))
    total = int(len(samples) / SAMPLE_RATE * 25)
    opening = np.pad(track.opening, (frames, max(0, total - frames - len(track.opening))))[:total]
    spread = np.pad(track.spread, (frames, max(0, total - frames - len(track.spread))))[:total]
    return Track(samples, opening, spread)


def train(steps: int = STEPS, tracks: int = TRACKS, learning_rate: float = LEARNING_RATE) -> None:
    """Train up to a number of steps, from the last checkpoint."""
    torch.manual_seed(0)
    encoder = make_audio_encoder()
    heads = nn.Linear(CHANNELS, LAYERS * (2 + BANDS))
    model = nn.ModuleList([encoder, heads])
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    run = progress.Run("audio_encoder", steps, model=encoder, heads=heads, optimizer=optimizer)
    if not run.left:
        return
    voices = [make_random_track(seed, 5.0) for seed in range(tracks)]

    def predict(track: Track) -> torch.Tensor:
        features = encode_audio(encoder, track.samples)  # F L C
        values = heads(features).unflatten(-1, (LAYERS, -1))
        return torch.stack([values[:, layer, layer] for layer in range(LAYERS)])  # L F targets

    for step in run.left:
        random = np.random.default_rng([5, step])
        loss = torch.zeros(())
        for _ in range(4):
            track = arrange(voices[int(random.integers(tracks))], random)
            loss = loss + (predict(track) - targets_of(track)).square().mean() / 4
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = progress.scheduled(step / steps, learning_rate)
        optimizer.step()
        optimizer.zero_grad()
        run.log.add(step + 1, loss=loss.item())
        run.checkpoint(step)
    report(predict)


@torch.no_grad()
def report(predict: Callable[[Track], torch.Tensor]) -> None:
    """Print how well the last layer predicts the mouth for held-out voices."""
    held_out = [make_random_track(seed, 5.0, held_out=True) for seed in range(8)]
    results = [predict(track)[-1] for track in held_out]
    for index, name in enumerate(("opening", "spread")):
        r = [
            np.corrcoef(result[:, index].numpy(), targets_of(track)[:, index].numpy())[0, 1]
            for result, track in zip(results, held_out, strict=True)
        ]
        print(name, "r on held-out voices:", np.round(r, 3), flush=True)


if __name__ == "__main__":
    progress.command_line(train)
