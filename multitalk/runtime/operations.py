"""Count the operations of a clip, and estimate its time. Times are estimates, never measurements."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.constants import FUSED_CAPABILITY, ROWWISE_CAPABILITY, TILE, TILE_STRIDE, preview_steps
from .gpus import GpuSpecification
from .memory import MemoryLayout, Workload
from .sizes import ModelSizes

# Shares of a data sheet's rates that are expected: of the dense throughput in the transformer and in the
# VAE's convolutions, and of the memory's bandwidth. Not measured.
UTILIZATION = 0.75
AUTOENCODER_UTILIZATION = 0.5
BANDWIDTH_SHARE = 0.8
# Bytes that a block moves beside its weights, in units of a clip's tokens in 16 bits (tokens x dim x 2
# bytes), with a LoRA and two people: with the Triton kernels or without, by the kind of product. Counted by
# `python -m benchmarks.moved_bytes`, and compared with it by tests/runtime/test_plans.py.
MOVED_UNITS = {
    (True, "16-bit"): 98.0,
    (True, "int8"): 145.0,
    (True, "fp8"): 121.0,
    (True, "fp8-rowwise"): 104.0,
    (True, "fused"): 84.5,
    (False, "16-bit"): 228.0,
    (False, "int8"): 585.0,
    (False, "fp8"): 514.0,
    (False, "fp8-rowwise"): 313.0,
}
IMAGE_TOKENS = 257
# Floating-point operations of the VAE per pixel of a frame, with 96 channels at full resolution.
# Counted by tests/runtime/test_memory.py.
DECODE_OPERATIONS = 8_520_000
ENCODE_OPERATIONS = 5_070_000
# The same of the small decoder per pixel of a latent frame, with 64 channels at full resolution: of all four
# frames, and of the one in a preview.
FAST_DECODE_OPERATIONS = 1_320_000
PREVIEW_OPERATIONS = 822_000


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
    if workload.fast_decoder:
        return int(_fast_decoder_pixels(sizes, workload) * FAST_DECODE_OPERATIONS)
    return int(_vae_pixels(sizes, workload) * DECODE_OPERATIONS)


def previews_of(workload: Workload) -> int:
    """Return the number of previews of a clip."""
    return len(preview_steps(workload.calls // workload.branches)) if workload.preview else 0


def preview_operations(sizes: ModelSizes, workload: Workload) -> int:
    """Count the floating-point operations of a preview of a clip."""
    return int(_fast_decoder_pixels(sizes, workload) * PREVIEW_OPERATIONS)


def _fast_decoder_pixels(sizes: ModelSizes, workload: Workload) -> float:
    """Return the pixels of a clip's latent frames, weighted by the width of the small decoder."""
    return (sizes.fast_decoder_dim / 64) ** 2 * workload.height * workload.width * workload.latent_frames


def autoencoder_operations(sizes: ModelSizes, workload: Workload) -> int:
    """Count the floating-point operations of encoding a clip's condition and decoding its latents.

    Previews are included.
    """
    # zeros need no operations once the stages are at their fixed point: see vae_stages.SteadyStages
    previews = previews_of(workload) * preview_operations(sizes, workload)
    return encoder_operations(sizes, workload) // 3 + decoder_operations(sizes, workload) + previews


def _vae_pixels(sizes: ModelSizes, workload: Workload) -> float:
    """Return the pixels of a clip, weighted by the width of the VAE."""
    return (sizes.vae_dim / 96) ** 2 * workload.height * workload.width * workload.frames


@dataclass(frozen=True)
class CallTime:
    """Estimated seconds of one model call.

    Attributes:
        compute: Matrix products and attention.
        memory: Reading and writing device memory.
        copies: Copying streamed blocks to the device, which happens beside the rest.
    """

    compute: float
    memory: float
    copies: float

    @property
    def seconds(self) -> float:
        """Seconds of the call."""
        return max(self.compute + self.memory, self.copies)

    @property
    def bound(self) -> str:
        """Name of what takes most of the time."""
        if self.copies > self.compute + self.memory:
            return "copies"
        return "compute" if self.compute >= self.memory else "memory"


def clip_seconds(gpu: GpuSpecification, layout: MemoryLayout, workload: Workload, call: CallTime) -> float:
    """Estimate the seconds of a clip: its model calls, from :func:`call_time`, and the VAE."""
    # with TF32, float32 convolutions run on tensor cores at half the 16-bit rate
    rate = gpu.half / 2 if gpu.capability >= (8, 0) else gpu.single
    autoencoder = autoencoder_operations(layout.sizes, workload) / rate / AUTOENCODER_UTILIZATION
    tiles = (TILE / TILE_STRIDE) ** 2 if layout.vae_tiling else 1.0
    return workload.calls * call.seconds + autoencoder * tiles


def call_time(gpu: GpuSpecification, layout: MemoryLayout, workload: Workload, kernels: bool) -> CallTime:
    """Estimate the time of one model call from its operations and bytes.

    Args:
        gpu: Its published rates.
        layout: Precision of the weights, and the streamed blocks.
        workload: The job.
        kernels: Whether Triton runs the kernels of :mod:`multitalk.models.kernels`.
    """
    attention = 4 * workload.tokens**2 * layout.sizes.dim * layout.sizes.layers
    linear = call_operations(layout.sizes, workload) - attention
    precision = layout.transformer
    if precision in ("int8", "fp8") and not layout.eight_bit_products:
        precision = "bf16"  # dequantized for the product
    # attention runs in 16 bits with weights of any precision
    operations = linear / gpu.throughput(precision) + attention / gpu.half
    moved = layout.sizes.layers * block_traffic(gpu, layout, workload, kernels)
    copies = layout.streamed_blocks * layout.block_bytes / gpu.host_link
    return CallTime(operations / UTILIZATION, moved / gpu.bandwidth / BANDWIDTH_SHARE, copies)


def block_traffic(gpu: GpuSpecification, layout: MemoryLayout, workload: Workload, kernels: bool) -> float:
    """Return the bytes that a block reads and writes in one model call; arguments as in :func:`call_time`."""
    product = layout.transformer if layout.eight_bit_products else "16-bit"
    if product == "fp8" and gpu.capability == ROWWISE_CAPABILITY:
        product = "fp8-rowwise"
    if kernels and product != "16-bit" and gpu.capability >= FUSED_CAPABILITY:
        product = "fused"
    weights = layout.block_bytes
    if layout.transformer in ("int8", "fp8") and not layout.eight_bit_products:
        weights += 4 * layout.sizes.block_matrices  # written in 16 bits, and read
    return MOVED_UNITS[kernels, product] * workload.tokens * layout.sizes.dim * 2 + weights
