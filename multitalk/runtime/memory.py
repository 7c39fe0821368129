"""The memory model: device memory of every stage of a job, computed from the model's shapes."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.constants import SLOTS, TILE
from .plan import PARTS
from .sizes import BYTES, ModelSizes

# Peak of live tensors in a transformer block, in units of a clip's tokens in 16 bits: N x dim x 2 bytes.
# The peak is at the rotary embedding of the keys: the residual stream (1), the normed input, query, key and
# value (4), and float32 temporaries of the rotation (6); masks and reference map add some hundredths.
# tests/runtime/test_memory.py counts it at real shapes.
BLOCK_UNITS = 11.15
# In float16, the residual stream is float32 (see models/half.py).
FLOAT16_UNITS = 1.1
# With 8-bit products, the hidden layer of the feed-forward is also stored in 8 bits.
EIGHT_BIT_UNITS = 1.0
# Peak of live tensors in the float32 VAE, in units of one full-resolution frame of its narrowest layer
# (height x width x vae_dim x 4 bytes): the frames cached by its convolutions, and the last level.
DECODE_UNITS = 51.0
ENCODE_UNITS = 40.0
HALF_DECODE_UNITS = 26.0  # with a bfloat16 decoder and float32 frames
# Peak of the small decoder, in units of one full-resolution frame of its narrowest layer in its own dtype.
FAST_DECODE_UNITS = 12.5
FAST_PARAMETERS = 9_850_000
# First convolution of wav2vec2: 512 channels at 3200 steps per second in float32, held three times.
AUDIO_BYTES_PER_SECOND = 3 * 512 * 3200 * 4
# Activations of the text and image encoders, whose inputs are small.
ENCODER_WORK = 300_000_000
# Kokoro's weights, which are on the device if all others are (HardwarePlan.speech_device).
SPEECH_BYTES = 330_000_000
# The CUDA context, workspaces of libraries, and fragmentation.
RESERVE = 1_000_000_000
RESERVE_SHARE = 0.05
# Host memory of the process, the system and the video's frames.
HOST_RESERVE = 4_000_000_000
_ENCODERS = PARTS[1:]


@dataclass(frozen=True)
class Workload:
    """The properties of a job that its memory and time depend on.

    Attributes:
        height, width: Size of the video in pixels.
        people: Number of people who speak.
        frames: Frames per clip, 4n+1.
        calls: Model calls per clip: steps times guidance branches.
        branches: Guidance branches per step.
        keeps_residuals: Whether every branch keeps its last residual (TeaCache).
        sound_seconds: Length of the longest audio input in seconds.
        fast_decoder: Whether the small decoder decodes the clips.
        preview: Whether the small decoder decodes previews.
    """

    height: int = 480
    width: int = 832
    people: int = 2
    frames: int = 81
    calls: int = 8
    branches: int = 2
    keeps_residuals: bool = False
    sound_seconds: float = 600.0
    fast_decoder: bool = False
    preview: bool = False

    @property
    def latent_frames(self) -> int:
        """Latent frames per clip."""
        return 1 + (self.frames - 1) // 4

    @property
    def tokens_per_frame(self) -> int:
        """Tokens per latent frame."""
        return (self.height // 16) * (self.width // 16)

    @property
    def tokens(self) -> int:
        """Tokens per clip."""
        return self.latent_frames * self.tokens_per_frame


@dataclass(frozen=True)
class MemoryLayout:
    """Which weights are on the device and in which precision.

    Attributes:
        sizes: Sizes of the model.
        compute: Precision of the activations: "bf16", "fp16" or "float32".
        transformer: Precision of the transformer's matrices.
        text_encoder: Precision of the text encoder's matrices.
        image_encoder: Precision of the image encoder.
        resident: Parts that stay on the device.
        mapped: Parts that, while they are offloaded, are only in the page cache.
        streamed_blocks: Number of blocks that are offloaded to host memory.
        vae_tiling: Whether the VAE works in tiles.
        batch: Guidance branches per model call.
        eight_bit_products: Whether 8-bit weights are multiplied without dequantizing them.
        shared_by: Number of processes that share the transformer's matrices: each holds a part of every
            block, and no block is streamed (`multitalk/parallel/weights.py`).
    """

    sizes: ModelSizes
    compute: str
    transformer: str
    text_encoder: str
    image_encoder: str
    resident: tuple[str, ...]
    mapped: tuple[str, ...] = ()
    streamed_blocks: int = 0
    vae_tiling: bool = False
    batch: int = 1
    eight_bit_products: bool = False
    shared_by: int = 1

    def part_bytes(self, part: str) -> int:
        """Return the bytes of all weights of a part."""
        sizes = self.sizes
        match part:
            case "transformer":
                return sizes.outer_bytes(self.transformer) + sizes.layers * self.block_bytes
            case "text_encoder":
                return sizes.text_bytes(self.text_encoder)
            case "image_encoder":
                return sizes.image_parameters * BYTES[self.image_encoder]
            case "audio_encoder":
                return sizes.audio_parameters * 4
            case "vae":
                return sizes.vae_parameters * 4
        raise KeyError(part)

    @property
    def block_bytes(self) -> int:
        """Bytes of one transformer block."""
        return self.sizes.block_bytes(self.transformer)

    @property
    def transformer_bytes(self) -> int:
        """Device bytes of the transformer: resident weights, a LoRA, and the slots for streamed blocks."""
        layers = self.sizes.layers
        outer = self.sizes.outer_bytes(self.transformer) + self.sizes.lora_bytes
        if self.shared_by > 1:
            outer += layers * 4 * self.sizes.block_vectors  # every process holds all vectors
            return outer + layers * self.block_bytes // self.shared_by + min(SLOTS, layers) * self.block_bytes
        blocks = layers - self.streamed_blocks + min(SLOTS, self.streamed_blocks)
        return outer + blocks * self.block_bytes

    @property
    def host_bytes(self) -> int:
        """Host bytes of streamed blocks and offloaded parts, with the reserve."""
        offloaded = [part for part in _ENCODERS if part not in (*self.resident, *self.mapped)]
        weights = self.streamed_blocks * self.block_bytes + sum(map(self.part_bytes, offloaded))
        return weights + HOST_RESERVE

    def stages(self, workload: Workload) -> dict[str, int]:
        """Return the peak device bytes of each stage of a job."""
        base = self.transformer_bytes
        base += sum(self.part_bytes(part) for part in _ENCODERS if part in self.resident)
        if not self.streamed_blocks and set(_ENCODERS) <= set(self.resident):
            base += SPEECH_BYTES
        text = 0 if "text_encoder" in self.resident else self._streamed_text_bytes()
        audio = 0  # an offloaded audio encoder computes on the host
        if "audio_encoder" in self.resident:
            audio = int(workload.sound_seconds * AUDIO_BYTES_PER_SECOND)
        image, vae = (
            0 if part in self.resident else self.part_bytes(part) for part in ("image_encoder", "vae")
        )
        decode = HALF_DECODE_UNITS if self.compute == "bf16" else DECODE_UNITS
        # pixels of the condition and of decoded frames, in float32
        frames = 64 * 3 * workload.height * workload.width * 4
        encode = max(image + ENCODER_WORK, self._vae_work(workload, ENCODE_UNITS))
        fast = 0  # a preview is decoded between two model calls
        if workload.fast_decoder or workload.preview:
            base += self._fast_bytes
            fast = self._fast_work(workload)
        decoded = fast if workload.fast_decoder else self._vae_work(workload, decode)
        return {
            "text": base + text + ENCODER_WORK,
            "audio": base + audio,
            "encode": base + vae + frames + encode,
            "denoise": base + max(self.block_work(workload), fast if workload.preview else 0),
            "decode": base + vae + frames + decoded,
        }

    def peak(self, workload: Workload) -> int:
        """Return the peak device bytes of a job."""
        return max(self.stages(workload).values())

    def block_work(self, workload: Workload) -> int:
        """Return the bytes of the transformer's activations."""
        unit = workload.tokens * self.sizes.dim * 2
        units = BLOCK_UNITS * (2 if self.compute == "float32" else 1)
        units += FLOAT16_UNITS if self.compute == "fp16" else 0
        units += EIGHT_BIT_UNITS if self.eight_bit_products else 0
        # a residual per branch, and the stream's start, which the new residual is the difference to
        residuals = workload.branches + 1 if workload.keeps_residuals else 0
        return int(unit * (self.batch * units + residuals * (1 if self.compute == "bf16" else 2)))

    @property
    def _fast_bytes(self) -> int:
        """Bytes of the small decoder's weights."""
        return FAST_PARAMETERS * BYTES[self.compute]

    def _fast_work(self, workload: Workload) -> int:
        """Return the bytes of the small decoder's activations."""
        pixels = workload.height * workload.width
        return int(FAST_DECODE_UNITS * pixels * self.sizes.fast_decoder_dim * BYTES[self.compute])

    def _vae_work(self, workload: Workload, units: float) -> int:
        height, width, features = workload.height, workload.width, 0
        if self.vae_tiling:
            # layers at latent resolution are never tiled: a clip before and after them
            features = 2 * 4 * workload.latent_frames * (height // 8) * (width // 8)
            height, width = min(height, TILE), min(width, TILE)
        return int((units * height * width + features) * self.sizes.vae_dim * 4)

    def _streamed_text_bytes(self) -> int:
        """Return the device bytes of an offloaded text encoder: its vocabulary and slots for its layers."""
        sizes, precision = self.sizes, self.text_encoder
        slots = min(SLOTS, sizes.text_layers)
        return sizes.text_outer_bytes(precision) + slots * sizes.text_layer_bytes(precision)


def usable(memory: int) -> int:
    """Return the bytes of a GPU's memory that a plan may use."""
    return int(memory * (1 - RESERVE_SHARE)) - RESERVE
