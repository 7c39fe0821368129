"""The plan: how the model runs on a machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# PyTorch's own dispatcher picks the best kernel that this GPU has (flash, cuDNN, memory-efficient)
DEFAULT_BACKEND = "native"
# What of the model may lie on the device all the time, or come there for its stage alone.
PARTS = ("transformer", "text_encoder", "image_encoder", "audio_encoder", "vae")


@dataclass(frozen=True)
class HardwarePlan:
    """How the model runs on a machine.

    Attributes:
        device: Where it computes.
        dtype: Of the activations of the transformer, the text encoder, the image encoder and, in bfloat16,
            the VAE's decoder; its encoder and the audio encoder stay float32.
        attention_backend: A name in diffusers' attention dispatcher or one of our own
            (`models/attention_backends.py`), for self-attention over a clip's tokens.
        transformer_precision: How the transformer's large matrices lie in memory: "float32", "bf16", "fp16",
            "int8" or "fp8".
        text_encoder_precision: The same of the text encoder.
        streamed_blocks: How many of the transformer's blocks wait in host memory and are copied to the device
            for each call, while the block before computes.
        resident: Names in `PARTS` of what stays on the device. The others come there for their stage alone,
            the text encoder layer by layer; an audio encoder that isn't resident computes on the host. The
            transformer is resident also when some of its blocks are streamed.
        vae_tiling: Whether frames are encoded and decoded in tiles.
        batch_branches: Whether guidance branches share a model call.
        compile: Whether the transformer's blocks are compiled.
        expected_peak_bytes: The device memory that the largest stage of the planned job needs; 0 where the
            device is the CPU.
        expected_seconds: An estimate, never a measurement: seconds for a clip of the planned job; None where
            nothing is known of the device.
        description: One line for people.
        cross_attention_backend: As `attention_backend`, for cross attention to text, picture and sound.
        notes: What a person should know of the choices, a sentence each.
        eight_bit_products: Whether 8-bit weights are multiplied in 8 bits where the device can; else they are
            dequantized everywhere, which is nearer to the unquantized model.
    """

    device: torch.device
    dtype: torch.dtype
    attention_backend: str
    transformer_precision: str = "float32"
    text_encoder_precision: str = "float32"
    streamed_blocks: int = 0
    resident: tuple[str, ...] = PARTS
    vae_tiling: bool = False
    batch_branches: bool = False
    compile: bool = False
    expected_peak_bytes: int = 0
    expected_seconds: float | None = None
    description: str = ""
    cross_attention_backend: str = DEFAULT_BACKEND
    notes: tuple[str, ...] = ()
    eight_bit_products: bool = True

    @property
    def all_resident(self) -> bool:
        """Whether nothing of the model leaves the device."""
        return not self.streamed_blocks and set(PARTS) <= set(self.resident)

    @property
    def speech_device(self) -> torch.device:
        """Where a network that speaks computes: on a device with room to spare, else on the host."""
        return self.device if self.all_resident else torch.device("cpu")
