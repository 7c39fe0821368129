"""Count the operations of a clip, and estimate its time. Times are estimates, never measurements."""

from __future__ import annotations

from ..models.constants import TILE, TILE_STRIDE
from .gpus import GpuSpecification
from .memory import MemoryLayout, Workload
from .sizes import ModelSizes

# Share of a data sheet's dense throughput that a clip is expected to reach. Not measured.
UTILIZATION = 0.5
IMAGE_TOKENS = 257
# Floating-point operations of the VAE per pixel of a frame, with 96 channels at full resolution.
# Counted by tests/runtime/test_memory.py.
DECODE_OPERATIONS = 8_520_000
ENCODE_OPERATIONS = 5_070_000


def call_operations(sizes: ModelSizes, workload: Workload) -> int:
    """Count the floating-point operations of one model call; a multiply-add counts as two.

    Included are linear layers on the video tokens, self-attention, attention to text, image and audio, and
    the reference map for two people. Not included are values computed once per context, such as the keys of
    the 512 text tokens, as well as norms and rotary embeddings.
    """
    tokens, dim, context = workload.tokens, sizes.dim, sizes.text_len + IMAGE_TOKENS
    audio_tokens = sizes.audio_tokens * workload.people
    video_projections = 4 + 2 + 2  # self-attention; query and output of cross-attention and audio attention
    linear = 2 * tokens * (video_projections * dim**2 + 2 * dim * sizes.ffn_dim)
    linear += 2 * context * 2 * dim**2
    linear += 2 * workload.latent_frames * audio_tokens * 2 * sizes.audio_dim * dim
    attention = 4 * tokens * (tokens + context + audio_tokens) * dim
    reference_map = 0
    if workload.people > 1:
        columns = 8  # the masks, padded
        reference_map = 2 * tokens * workload.tokens_per_frame * (dim + columns * sizes.heads)
    patches = 2 * tokens * dim * (36 * 4 + 16 * 4)
    return sizes.layers * (linear + attention + reference_map) + patches


def encoder_operations(sizes: ModelSizes, workload: Workload) -> int:
    """Count the floating-point operations of encoding a clip without zeros."""
    return int(_vae_pixels(sizes, workload) * ENCODE_OPERATIONS)


def decoder_operations(sizes: ModelSizes, workload: Workload) -> int:
    """Count the floating-point operations of decoding a clip's latents."""
    return int(_vae_pixels(sizes, workload) * DECODE_OPERATIONS)


def autoencoder_operations(sizes: ModelSizes, workload: Workload) -> int:
    """Count the floating-point operations of encoding a clip's condition and decoding its latents."""
    # zeros need no operations once the stages are at their fixed point: see vae_stages.SteadyStages
    return encoder_operations(sizes, workload) // 3 + decoder_operations(sizes, workload)


def _vae_pixels(sizes: ModelSizes, workload: Workload) -> float:
    """Return the pixels of a clip, weighted by the width of the VAE."""
    return (sizes.vae_dim / 96) ** 2 * workload.height * workload.width * workload.frames


def clip_seconds(gpu: GpuSpecification, layout: MemoryLayout, workload: Workload) -> float:
    """Estimate the seconds of a clip: its model calls and the VAE."""
    # with TF32, float32 convolutions run on tensor cores at half the 16-bit rate
    rate = gpu.half / 2 if gpu.capability >= (8, 0) else gpu.single
    autoencoder = autoencoder_operations(layout.sizes, workload) / rate / UTILIZATION
    tiles = (TILE / TILE_STRIDE) ** 2 if layout.vae_tiling else 1.0
    return workload.calls * _call_seconds(gpu, layout, workload) + autoencoder * tiles


def _call_seconds(gpu: GpuSpecification, layout: MemoryLayout, workload: Workload) -> float:
    """Estimate the seconds of one model call: its computation or its copies, whichever takes longer."""
    attention = 4 * workload.tokens**2 * layout.sizes.dim * layout.sizes.layers
    linear = call_operations(layout.sizes, workload) - attention
    precision = layout.transformer
    if precision in ("int8", "fp8") and not layout.eight_bit_products:
        precision = "bf16"  # dequantized for the product
    # attention runs in 16 bits with weights of any precision
    seconds = linear / gpu.throughput(precision) + attention / gpu.half
    copies = layout.streamed_blocks * layout.block_bytes / gpu.host_link
    return max(seconds / UTILIZATION, copies)
