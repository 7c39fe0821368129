"""How much device memory each stage of a job needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..models.constants import SLOTS, TILE
from .sizes import BYTES, ModelSizes

# Peak of live tensors inside a transformer block, in units of a clip's tokens in 16 bits: N x dim x 2 bytes.
# It is reached where the keys are rotated: the residual stream (1), the block's normed input, query, key and
# value (4), and the rotation's float32 temporaries (6); masks and reference map add some hundredths.
# tests/runtime/test_memory.py counts it at real shapes.
BLOCK_UNITS = 11.15
# Where the blocks compute in float16 the stream is float32 (see models/half.py).
FLOAT16_UNITS = 1.1
# Where weights are multiplied in 8 bits, the hidden layer of the feed-forward lies there in 8 bits, too.
EIGHT_BIT_UNITS = 1.0
# The same for the autoencoder in float32, in units of one full-resolution frame of its narrowest layer
# (height x width x vae_dim x 4 bytes): the frames that its convolutions remember, and the last level's work.
DECODE_UNITS = 51.0
ENCODE_UNITS = 40.0
HALF_DECODE_UNITS = 27.0  # with the decoder in bfloat16, its frames in float32
# wav2vec2's first convolution: 512 channels at 3200 steps a second in float32, three times at once.
AUDIO_BYTES_PER_SECOND = 3 * 512 * 3200 * 4
# Prompts and pictures are short: what their encoders make beside their weights.
ENCODER_WORK = 300_000_000
# Kokoro's weights, which lie on the device where all others do (HardwarePlan.speech_device).
SPEECH_BYTES = 330_000_000
# The CUDA context, the libraries' workspaces, and what fragmentation costs.
RESERVE = 1_000_000_000
RESERVE_SHARE = 0.05
# Host memory that the process, the system and the video's frames take beside the weights.
HOST_RESERVE = 4_000_000_000


@dataclass(frozen=True)
class Workload:
    """What memory and time depend on.

    Attributes:
        height, width: Of the video in pixels.
        people: How many speak.
        frames: Of a clip, 4n+1.
        calls: Model calls of a clip: steps times guidance branches.
        branches: Guidance branches of a step.
        keeps_residuals: Whether every branch keeps its last residual (TeaCache).
        sound_seconds: The longest sound.
    """

    height: int = 480
    width: int = 832
    people: int = 2
    frames: int = 81
    calls: int = 8
    branches: int = 2
    keeps_residuals: bool = False
    sound_seconds: float = 600.0

    @property
    def latent_frames(self) -> int:
        """Latent frames of a clip."""
        return 1 + (self.frames - 1) // 4

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of a latent frame."""
        return (self.height // 16) * (self.width // 16)

    @property
    def tokens(self) -> int:
        """Tokens of a clip."""
        return self.latent_frames * self.tokens_per_frame


@dataclass(frozen=True)
class MemoryLayout:
    """What lies on the device, and in which form: all that the memory of a stage depends on, beside the job.

    Attributes:
        sizes: Of the model.
        compute: "bf16", "fp16" or "float32": of the activations.
        transformer: Precision of the transformer's matrices.
        text_encoder: Precision of the text encoder's.
        image_encoder: Precision of the image encoder.
        resident: Parts that stay on the device.
        streamed_blocks: Blocks that wait in host memory.
        vae_tiling: Whether the VAE works in tiles.
        batch: Guidance branches in one model call.
        eight_bit_products: Whether 8-bit weights are multiplied as they are.
        shared_by: Processes that share the transformer's matrices (`multitalk/parallel/weights.py`): each
            keeps its part of every block, and none is streamed.
    """

    sizes: ModelSizes
    compute: str
    transformer: str
    text_encoder: str
    image_encoder: str
    resident: tuple[str, ...]
    streamed_blocks: int = 0
    vae_tiling: bool = False
    batch: int = 1
    eight_bit_products: bool = False
    shared_by: int = 1

    def part_bytes(self, part: str) -> int:
        """Bytes of a part's weights, all of them."""
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
        """Bytes of one of the transformer's blocks."""
        return self.sizes.block_bytes(self.transformer)

    @property
    def transformer_bytes(self) -> int:
        """Device bytes of the transformer: what stays, a LoRA, the blocks that others take turns in."""
        layers = self.sizes.layers
        outer = self.sizes.outer_bytes(self.transformer) + self.sizes.lora_bytes
        if self.shared_by > 1:
            outer += layers * 4 * self.sizes.block_vectors  # what isn't a matrix is in every process
            return outer + layers * self.block_bytes // self.shared_by + min(SLOTS, layers) * self.block_bytes
        blocks = layers - self.streamed_blocks + min(SLOTS, self.streamed_blocks)
        return outer + blocks * self.block_bytes

    @property
    def host_bytes(self) -> int:
        """Bytes in host memory: streamed blocks, and the parts that aren't resident."""
        total = self.streamed_blocks * page_locked(self.block_bytes)
        for part in _SMALL_PARTS:
            if part in self.resident:
                continue
            if part == "text_encoder":
                total += self.sizes.text_layers * page_locked(self.sizes.text_layer_bytes(self.text_encoder))
                total += page_locked(self.sizes.text_outer_bytes(self.text_encoder))
            else:
                total += page_locked(self.part_bytes(part))
        return total

    def stages(self, job: Workload) -> dict[str, int]:
        """Peak device bytes of each stage of a job."""
        base = self.transformer_bytes + sum(self.part_bytes(part) for part in self._small(self.resident))
        if not self.streamed_blocks and set(_SMALL_PARTS) <= set(self.resident):
            base += SPEECH_BYTES
        text = 0 if "text_encoder" in self.resident else self._text_away()
        audio = int(job.sound_seconds * AUDIO_BYTES_PER_SECOND) if "audio_encoder" in self.resident else 0
        image, vae = (
            0 if part in self.resident else self.part_bytes(part) for part in ("image_encoder", "vae")
        )
        decode = HALF_DECODE_UNITS if self.compute == "bf16" else DECODE_UNITS
        # the job's frames: condition and decoded ones, as floats
        frames = 64 * 3 * job.height * job.width * 4
        return {
            "text": base + text + ENCODER_WORK,
            "audio": base + audio,  # an audio encoder that isn't resident computes on the host
            "encode": base + vae + frames + max(image + ENCODER_WORK, self._vae_work(job, ENCODE_UNITS)),
            "denoise": base + self.block_work(job),
            "decode": base + vae + frames + self._vae_work(job, decode),
        }

    def peak(self, job: Workload) -> int:
        """Peak device bytes of a job."""
        return max(self.stages(job).values())

    def block_work(self, job: Workload) -> int:
        """Bytes of what the transformer computes with."""
        unit = job.tokens * self.sizes.dim * 2 * self.batch
        units = BLOCK_UNITS * (2 if self.compute == "float32" else 1)
        units += FLOAT16_UNITS if self.compute == "fp16" else 0
        units += EIGHT_BIT_UNITS if self.eight_bit_products else 0
        # each branch's residual, and the stream's start, of which the new residual is the difference
        kept = job.branches + 1 if job.keeps_residuals else 0
        wide = 1 if self.compute == "bf16" else 2
        return int(unit * units + job.tokens * self.sizes.dim * 2 * kept * wide)

    def _vae_work(self, job: Workload, units: float) -> int:
        height, width, features = job.height, job.width, 0
        if self.vae_tiling:
            # the layers that are never tiled: a clip at latent resolution, before and after them
            features = 2 * 4 * job.latent_frames * (height // 8) * (width // 8)
            height, width = min(height, TILE), min(width, TILE)
        return int((units * height * width + features) * self.sizes.vae_dim * 4)

    def _text_away(self) -> int:
        """The text encoder's layers pass through the device one by one; its vocabulary stays for it."""
        sizes, precision = self.sizes, self.text_encoder
        slots = min(SLOTS, sizes.text_layers)
        return sizes.text_outer_bytes(precision) + slots * sizes.text_layer_bytes(precision)

    @staticmethod
    def _small(parts: Iterable[str]) -> list[str]:
        return [part for part in parts if part in _SMALL_PARTS]


_SMALL_PARTS = ("text_encoder", "image_encoder", "audio_encoder", "vae")


def page_locked(size: int) -> int:
    """Bytes that torch takes for page-locked memory: the next power of two."""
    return 1 << max(0, size - 1).bit_length()


def usable(memory: int) -> int:
    """Bytes of a GPU's memory that a plan may count on."""
    return int(memory * (1 - RESERVE_SHARE)) - RESERVE
