"""The plan: how the model runs on a machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import InvalidInput

# Compute capability from which a GPU multiplies bfloat16; older ones would emulate it.
BFLOAT16_CAPABILITY = (8, 0)
# PyTorch's own dispatcher picks the best kernel that this GPU has (flash, cuDNN, memory-efficient)
DEFAULT_BACKEND = "native"
# What of the model may lie on the device all the time, or come there for its stage alone.
PARTS = ("transformer", "text_encoder", "image_encoder", "audio_encoder", "vae")


@dataclass(frozen=True)
class HardwarePlan:
    """How the model runs on a machine.

    Attributes:
        device: Where it computes.
        dtype: Of the activations of the transformer, the text encoder and the image encoder; VAE and audio
            encoder stay float32.
        attention_backend: Name in diffusers' attention dispatcher, for self-attention over a clip's tokens.
        transformer_precision: How the transformer's large matrices lie in memory: "float32", "bf16", "fp16",
            "int8" or "fp8".
        text_encoder_precision: The same of the text encoder.
        streamed_blocks: How many of the transformer's blocks wait in host memory and are copied to the device
            for each call, while the block before computes.
        resident: Names in `PARTS` of what stays on the device; the others come there for their stage alone.
            The transformer is resident also when some of its blocks are streamed.
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


def make_plan(device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> HardwarePlan:
    """Choose what isn't given.

    Args:
        device: None takes the first GPU, or the CPU where there is none.
        dtype: None takes bfloat16 on GPUs that compute in it and float32 elsewhere.

    Raises:
        InvalidInput: The device doesn't exist here.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InvalidInput(f"device '{device}' is unknown: use cpu, cuda or cuda:N.", "device") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InvalidInput(f"device '{device}' needs an NVIDIA GPU, and torch finds none here.", "device")
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "CPU"
    if dtype is None:
        dtype = torch.float32
        if chosen.type == "cuda" and torch.cuda.get_device_capability(chosen) >= BFLOAT16_CAPABILITY:
            dtype = torch.bfloat16
    label = str(dtype).removeprefix("torch.")
    precision = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, label)
    return HardwarePlan(
        device=chosen,
        dtype=dtype,
        attention_backend=DEFAULT_BACKEND,
        transformer_precision=precision,
        text_encoder_precision=precision,
        description=f"{name} in {label}, attention: {DEFAULT_BACKEND}, all weights resident",
    )
