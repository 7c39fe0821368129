"""Seconds per stage beside their floor: ``python -m benchmarks.stages [--scale real] [--size 256 448]``."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import Wav2Vec2FeatureExtractor

from multitalk.bench.networks import (
    SCALES,
    Scale,
    make_audio_encoder,
    make_image_encoder,
    make_text_encoder,
    make_transformer,
    make_vae,
)
from multitalk.conditioning.audio import SAMPLE_RATE, encode_audio
from multitalk.conditioning.condition import make_condition
from multitalk.conditioning.image import encode_image
from multitalk.media.sound import Sound
from multitalk.media.video import VideoWriter
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.models.video_vae import decode_latents, latent_frames

from .floor import measure

PROMPT_TOKENS = 64
SECONDS_OF_SOUND = 6

Stage = Callable[[], object]


def model_call(transformer: MultiTalkTransformer, people: int, height: int, width: int, frames: int) -> Stage:
    """One prediction of one guidance branch, on conditions projected before."""
    shape = (latent_frames(frames), height // 8, width // 8)
    with torch.inference_mode():
        text = transformer.project_text(torch.randn(1, PROMPT_TOKENS, transformer.config.text_dim))
        image = transformer.project_image(torch.randn(1, 257, transformer.config.image_dim))
        config = transformer.config
        windows = (people, frames, config.audio_window, config.audio_layers, config.audio_channels)
        audio = transformer.project_audio(torch.randn(windows))
    latents, timestep = torch.randn(1, 36, *shape), torch.tensor([500.0])
    masks = None
    if people == 2:
        masks = torch.zeros(3, shape[1] * shape[2] // 4)
        for person, tokens in enumerate(torch.arange(masks.shape[1]).chunk(3)):
            masks[person, tokens] = 1
    return lambda: transformer(latents, timestep, text, image, audio, person_masks=masks)


def stages(scale: Scale, height: int, width: int, frames: int) -> Iterator[tuple[str, Stage]]:
    """Every stage of a clip; a network is made when its turn comes and goes with it."""
    picture = torch.rand(3, height, width) * 2 - 1
    yield "text", text_stage(scale)
    yield "image", image_stage(scale, picture)
    yield f"audio ({SECONDS_OF_SOUND} s)", audio_stage(scale)
    for known in (1, 25):
        yield f"VAE encode, {known} frame{'s' * (known > 1)}", vae_encode_stage(scale, picture, known, frames)
    yield "VAE decode", vae_decode_stage(scale, latent_frames(frames), height, width)
    for people in (1, 2):
        torch.manual_seed(0)
        yield (
            f"model call, {people} speaking",
            model_call(make_transformer(scale), people, height, width, frames),
        )
    yield "video encode", lambda: encode_video(height, width, frames)


def text_stage(scale: Scale) -> Stage:
    encoder, tokens = make_text_encoder(scale), torch.randint(0, 1000, (1, PROMPT_TOKENS))
    return lambda: encoder(input_ids=tokens)


def image_stage(scale: Scale, picture: torch.Tensor) -> Stage:
    encoder = make_image_encoder(scale)
    return lambda: encode_image(encoder, picture)


def audio_stage(scale: Scale) -> Stage:
    encoder, extractor = make_audio_encoder(scale), Wav2Vec2FeatureExtractor()
    samples = np.random.default_rng(0).normal(0, 0.1, SECONDS_OF_SOUND * SAMPLE_RATE).astype(np.float32)
    return lambda: encode_audio(encoder, extractor, samples)


def vae_encode_stage(scale: Scale, picture: torch.Tensor, known: int, frames: int) -> Stage:
    vae, condition = make_vae(scale), picture[:, None].expand(-1, known, -1, -1)
    return lambda: make_condition(vae, condition, frames)


def vae_decode_stage(scale: Scale, length: int, height: int, width: int) -> Stage:
    vae, latents = make_vae(scale), torch.randn(16, length, height // 8, width // 8)
    return lambda: list(decode_latents(vae, latents))


def encode_video(height: int, width: int, frames: int) -> None:
    """Write a clip with sound, as the pipeline does."""
    video = torch.randint(0, 255, (frames, height // 8, width // 8, 3), dtype=torch.uint8)
    video = video.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    sound = Sound(np.zeros((frames * 44100 // 25, 2), np.float32), 44100)
    with (
        tempfile.TemporaryDirectory() as folder,
        VideoWriter(Path(folder) / "clip.mp4", width, height, sound=sound) as writer,
    ):
        writer.write(video)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="small", help="widths of the networks")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 224), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=81, help="frames of the clip (4n+1)")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    # one block of the real width: a stage's ratio doesn't depend on the depth
    scale = SCALES[options.scale].cut(1 if options.scale == "real" else None)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32, {scale}")
    print(f"{options.frames} frames of {options.size[0]}x{options.size[1]}\n")
    print(f"{'stage':<24}{'seconds':>10}{'floor':>10}{'ratio':>8}")
    for name, stage in stages(scale, *options.size, options.frames):
        seconds, floor = measure(stage, options.repeats)
        ratio = f"{seconds / floor:8.2f}" if floor else "       -"
        print(f"{name:<24}{seconds:>10.3f}{floor:>10.3f}{ratio}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
