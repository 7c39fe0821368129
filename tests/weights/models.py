"""Load the small transformer, run it, and compare its weights bit by bit."""

from __future__ import annotations

from pathlib import Path

import torch

from multitalk.models.transformer import MultiTalkTransformer
from multitalk.weights.store import load_part
from tests.small_checkpoint import FUSIONX, LIGHTX2V

PRECISIONS = ("float32", "bf16", "int8", "fp8")


def load(folders, precision: str, dtype: torch.dtype | None = None) -> MultiTalkTransformer:
    dtype = dtype or (torch.float32 if precision == "float32" else torch.bfloat16)
    return load_part(folders[precision], "transformer", "cpu", dtype)


def both(folders) -> tuple[Path, Path]:
    loras = folders["float32"].path / "loras"
    return loras / FUSIONX, loras / LIGHTX2V


def predict(model: MultiTalkTransformer) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    config = model.config

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    audio = random(1, 5, config.audio_window, config.audio_layers, config.audio_channels)
    with torch.inference_mode():
        return model(
            random(1, 36, 2, 8, 8),
            torch.tensor([500.0]),
            model.project_text(random(1, 7, config.text_dim)),
            model.project_image(random(1, 257, config.image_dim)),
            model.project_audio(audio),
        ).float()


def state_of(model: MultiTalkTransformer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor: torch 2.5 does not compare fp8."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def same_bits(model: MultiTalkTransformer, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(bits(tensor), bits(state[name])) for name, tensor in model.state_dict().items())
