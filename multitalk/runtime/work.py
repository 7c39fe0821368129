"""How much a clip computes, and how long that would take: an estimate, never a measurement."""

from __future__ import annotations

from ..models.constants import TILE, TILE_STRIDE
from .gpus import GpuSpecification, multiplies
from .memory import MemoryLayout, Workload
from .sizes import ModelSizes

# Share of a data sheet's dense throughput that a clip is expected to reach. Not measured.
UTILISATION = 0.5
IMAGE_TOKENS = 257
# Floating-point operations of the autoencoder per pixel of a video frame, for 96 channels at full resolution:
# decoding it, and encoding it. Counted by tests/runtime/test_memory.py.
DECODE_OPERATIONS = 8_520_000
ENCODE_OPERATIONS = 5_070_000


def call_operations(sizes: ModelSizes, job: Workload) -> int:
    """Floating-point operations of one model call, a multiplication with its addition counted as two.

    Linear layers on the video's tokens, self-attention over all of them, attention to text, picture and
    sound, and the reference map where two people speak. What is computed once per context (the keys of 512
    text tokens) is counted, norms and rotations are not.
    """
    tokens, dim, context = job.tokens, sizes.dim, sizes.text_len + IMAGE_TOKENS
    audio_tokens = sizes.audio_tokens * job.people
    on_video = 4 + 2 + 2  # self-attention; query and output of cross and audio attention
    linear = 2 * tokens * (on_video * dim**2 + 2 * dim * sizes.ffn_dim)
    linear += 2 * context * 2 * dim**2
    linear += 2 * job.latent_frames * audio_tokens * 2 * sizes.audio_dim * dim
    attention = 4 * tokens * (tokens + context + audio_tokens) * dim
    reference_map = 0
    if job.people > 1:
        columns = 8  # the masks, padded
        reference_map = 2 * tokens * job.tokens_per_frame * (dim + columns * sizes.heads)
    patches = 2 * tokens * dim * (36 * 4 + 16 * 4)
    return sizes.layers * (linear + attention + reference_map) + patches


def autoencoder_operations(sizes: ModelSizes, job: Workload) -> int:
    """Floating-point operations of encoding a clip's condition and decoding its latents."""
    scale = (sizes.vae_dim / 96) ** 2
    return int(scale * job.height * job.width * job.frames * (DECODE_OPERATIONS + ENCODE_OPERATIONS / 3))


def throughput(gpu: GpuSpecification, precision: str) -> float:
    """Operations a second of a transformer's matrix products, from the data sheet."""
    if precision == "float32":
        return gpu.single
    if gpu.eight_bit is None or not multiplies(gpu.capability, precision):
        return gpu.half
    return gpu.eight_bit


def call_seconds(gpu: GpuSpecification, layout: MemoryLayout, job: Workload) -> float:
    """Seconds of one model call: the larger of its computing and of copying its streamed blocks."""
    operations = call_operations(layout.sizes, job)
    attention = 4 * job.tokens**2 * layout.sizes.dim * layout.sizes.layers
    precision = layout.transformer
    if precision in ("int8", "fp8") and not layout.eight_bit_products:
        precision = "bf16"  # dequantized for the product
    # attention keeps 16 bits whatever the weights have
    seconds = (operations - attention) / throughput(gpu, precision) + attention / gpu.half
    copied = layout.streamed_blocks * layout.block_bytes / gpu.host_link
    return max(seconds / UTILISATION, copied)


def clip_seconds(gpu: GpuSpecification, layout: MemoryLayout, job: Workload) -> float:
    """Seconds of a clip: its model calls and its autoencoder."""
    # convolutions in float32 run on tensor cores at half their 16-bit rate where there is TF32
    rate = gpu.half / 2 if gpu.capability >= (8, 0) else gpu.single
    autoencoder = autoencoder_operations(layout.sizes, job) / rate / UTILISATION
    tiles = (TILE / TILE_STRIDE) ** 2 if layout.vae_tiling else 1.0
    return job.calls * call_seconds(gpu, layout, job) + autoencoder * tiles
