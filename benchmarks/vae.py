"""Encode and decode with this project's VAE layers, as a ratio of diffusers' own, in one run.

Usage: python -m benchmarks.vae [--weights FOLDER] [--size HEIGHT WIDTH] [--frames N]
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch

from multitalk.models.vae_layers import use_channels_last, use_fast_layers
from multitalk.models.video_vae import decode_latents, encode_condition
from multitalk.patches.torch import use_onednn
from multitalk.weights.folders import EMBEDDED_FOLDER
from multitalk.weights.store import WeightsFolder, load_part

RUNS = 3


def seconds_of(work: Callable[[], object]) -> float:
    """Return the processor time of the process, which other processes change little."""
    started = time.process_time()
    work()
    return time.process_time() - started


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=EMBEDDED_FOLDER)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 384), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=9, help="4n+1")
    options = parser.parse_args()
    height, width = options.size
    before = load_part(WeightsFolder(options.weights), "vae", "cpu", torch.float32)
    after = copy.deepcopy(before)
    use_onednn(before)
    use_fast_layers(after)
    use_channels_last(after)
    frames = torch.rand(3, options.frames, height, width) * 2 - 1
    latents = torch.randn(16, 1 + options.frames // 4, height // 8, width // 8)
    report(
        "encode", lambda: before.encode(frames[None]), lambda: encode_condition(after, frames, options.frames)
    )
    report("decode", lambda: before.decode(latents[None]), lambda: list(decode_latents(after, latents)))


def report(name: str, before: Callable[[], object], after: Callable[[], object]) -> None:
    times = [[seconds_of(work) for work in (before, after)] for _ in range(RUNS)]
    old, new = (min(column) for column in zip(*times, strict=True))
    print(f"{name}: {old:.2f} s with diffusers' layers, {new:.2f} s with ours, {old / new:.2f} times faster")


if __name__ == "__main__":
    main()
