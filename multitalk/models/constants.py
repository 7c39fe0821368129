"""Constants that the networks and the hardware planner share; imported without torch."""

from __future__ import annotations

# Video frames, and audio features, per second.
FPS = 25
# Minimum compute capability for 8-bit matrix products: int8 tensor cores exist from Turing on (not on V100),
# fp8 ones from Ada on.
INT8_CAPABILITY = (7, 5)
FP8_CAPABILITY = (8, 9)
# torch's fp8 kernel with per-row scales is built for Hopper; other GPUs apply the scales to the product.
ROWWISE_CAPABILITY = (9, 0)
# The Triton product that includes its epilogue needs tensor cores for 8 bits with asynchronous copies.
FUSED_CAPABILITY = (8, 0)
# Minimum compute capability for bfloat16 matrix products in hardware.
BFLOAT16_CAPABILITY = (8, 0)
# Device buffers for streamed or shared blocks: one block computes while the next one is copied.
SLOTS = 2
# Side of a VAE tile, and the distance between two tiles, in pixels.
TILE = 256
TILE_STRIDE = 192
# A clip has one preview less than this: the last one would be the clip itself.
PREVIEWS = 4
# Video tokens of a clip of 81 frames at 480p (480x832). Kernels are probed with as many.
CLIP_TOKENS = 21 * 30 * 52


def probed_tokens(device_type: str) -> tuple[int, ...]:
    """Return the numbers of tokens with which to probe a kernel, none of them a multiple of a block size.

    On a GPU the second one is a clip's: some kernels fail at length only.
    """
    return (333, CLIP_TOKENS) if device_type == "cuda" else (333,)


def preview_steps(steps: int) -> range:
    """Return the steps, counted from 1, after which a clip of this many steps has a preview."""
    every = -(-steps // PREVIEWS)
    return range(every, steps, every)
