"""Requests for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from multitalk.request.generation_request import GenerationRequest


def small_request(seconds: float = 0.5, rate: int = 16_000) -> GenerationRequest:
    """Return a request with a gray image and a tone."""
    tone = 0.3 * np.sin(np.arange(round(seconds * rate)) / 20).astype(np.float32)
    return GenerationRequest(image=Image.new("RGB", (64, 64), "gray"), audio=(tone, rate))


def no_lora(name: object) -> Path:
    """Stand for weights without LoRAs, in forms without any."""
    raise AssertionError("no LoRA is searched for")
