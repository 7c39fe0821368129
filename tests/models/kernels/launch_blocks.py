"""Runs transformer blocks of the published widths on stand-in GPUs; prints what Triton adds to its cache.

TRITON_CACHE_DIR=... python -m tests.models.kernels.launch_blocks 80 89
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from benchmarks.moved_bytes import AUDIO_DIM, AUDIO_TOKENS, DIM, SCALE, make_block
from multitalk.models.half import residual_dtype
from multitalk.models.kernels.dispatch import forced
from multitalk.models.quantized import QuantizedLinear
from multitalk.patches.triton import StandInDriver

# batch, latent frames, tokens per frame, people
CALLS = ((1, 2, 6, 2), (2, 1, 7, 1))


def launch(capability: int, precision: str | None, lora: bool, matmul: str | None) -> None:
    dtype = torch.bfloat16 if capability >= 80 else torch.float16
    block = make_block(precision, lora, matmul, dtype).to_empty(device="cpu")
    for layer in block.modules():
        if isinstance(layer, QuantizedLinear):
            layer.minimal_rows = 1
            layer.scale.zero_()
        if lora and getattr(layer, "lora_down", None) is not None:
            layer.set_low_rank(
                *(torch.zeros(part.shape, dtype=dtype) for part in (layer.lora_down, layer.lora_up))
            )
    for batch, frames, per_frame, people in CALLS:
        tokens = frames * per_frame
        angles = torch.zeros(1, tokens, 1, SCALE.head_dim // 2)
        block(
            torch.zeros(batch, tokens, DIM, dtype=residual_dtype(dtype)),
            torch.zeros(1, 5, DIM, dtype=dtype),
            torch.zeros(1, 3, DIM, dtype=dtype),
            torch.zeros(batch, frames, people * AUDIO_TOKENS, AUDIO_DIM, dtype=dtype),
            torch.zeros(batch, 6, DIM),
            (angles, angles),
            torch.ones(3, per_frame) if people == 2 else None,
        )


def launch_all(capability: int) -> None:
    launch(capability, None, False, None)
    if capability >= 75:
        launch(capability, "int8", True, "int8")
    if capability >= 80:
        launch(capability, "int8", True, "int8-fused")
    if capability >= 89:
        launch(capability, "fp8", True, "fp8-fused")


def main() -> None:
    stand_in = StandInDriver()
    stand_in.install()
    cache = Path(os.environ["TRITON_CACHE_DIR"])
    before = set(cache.rglob("*"))
    for capability in map(int, sys.argv[1:]):
        stand_in.capability, stand_in.compiled = capability, []
        with torch.inference_mode(), forced(True):
            launch_all(capability)
        print(f"sm_{capability}: {len(stand_in.compiled)} kernels were used.")
    for path in sorted(set(cache.rglob("*")) - before):
        print(path.name)


if __name__ == "__main__":
    main()
