"""What this machine is, and how the model runs on it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .errors import InvalidInput

# Compute capability from which a GPU multiplies bfloat16; older ones would emulate it.
BFLOAT16_CAPABILITY = (8, 0)
# PyTorch's own dispatcher picks the best kernel that this GPU has (flash, cuDNN, memory-efficient)
DEFAULT_BACKEND = "native"


@dataclass(frozen=True)
class HardwarePlan:
    """How the model runs here.

    Attributes:
        device: Where it computes.
        dtype: Of the transformer, the text encoder and the image encoder; VAE and audio encoder stay float32.
        attention_backend: Name in diffusers' attention dispatcher.
        description: One line for people.
    """

    device: torch.device
    dtype: torch.dtype
    attention_backend: str
    description: str


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
    return HardwarePlan(
        chosen,
        dtype,
        DEFAULT_BACKEND,
        f"{name} in {label}, attention: {DEFAULT_BACKEND}, all weights resident",
    )
