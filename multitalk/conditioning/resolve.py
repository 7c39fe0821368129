"""Completion of a request by its preset: size, sampling settings and guidance branches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..request.presets import Preset, SamplingSettings, settings_for
from ..sampling.guidance import Branch, needed_branches

if TYPE_CHECKING:
    from ..request.generation_request import GenerationRequest


@dataclass(frozen=True)
class ResolvedSettings:
    """Settings of a request after defaults were applied.

    Attributes:
        height, width: Size of the video in pixels.
        resolution: "480p" or "720p": selects constants of presets and caches.
        sampling: Steps, shift and guidance scales.
        branches: Guidance branches of every step.
    """

    height: int
    width: int
    resolution: str
    sampling: SamplingSettings
    branches: tuple[Branch, ...]


def resolve_settings(request: GenerationRequest, preset: Preset) -> ResolvedSettings:
    """Complete the settings of a request.

    Args:
        request: The job.
        preset: Supplies the settings that the request does not set.
    """
    picture = request.picture
    height, width = choose_size(request.size_with(preset), picture.height, picture.width)
    resolution = resolution_of(height, width)
    sampling = settings_for(
        preset, resolution, request.steps, request.shift, request.text_guidance, request.audio_guidance
    )
    branches = needed_branches(sampling.text_guidance, sampling.audio_guidance)
    return ResolvedSettings(height, width, resolution, sampling, branches)


# Height / width -> (height, width), as upstream (docs/MODEL.md, section 4).
BUCKETS: dict[str, dict[float, tuple[int, int]]] = {
    "480p-bucket": {
        0.26: (320, 1216), 0.38: (384, 1024), 0.50: (448, 896), 0.67: (512, 768), 0.82: (576, 704),
        1.00: (640, 640), 1.22: (704, 576), 1.50: (768, 512), 1.86: (832, 448), 2.00: (896, 448),
        2.50: (960, 384), 2.83: (1088, 384), 3.60: (1152, 320), 3.80: (1216, 320), 4.00: (1280, 320),
    },
    "720p-bucket": {
        0.22: (448, 2048), 0.29: (512, 1792), 0.36: (576, 1600), 0.45: (640, 1408), 0.55: (704, 1280),
        0.63: (768, 1216), 0.76: (832, 1088), 0.88: (896, 1024), 1.00: (960, 960), 1.14: (1024, 896),
        1.31: (1088, 832), 1.50: (1152, 768), 1.58: (1216, 768), 1.82: (1280, 704), 1.91: (1344, 704),
        2.20: (1408, 640), 2.30: (1472, 640), 2.67: (1536, 576), 2.89: (1664, 576), 3.62: (1856, 512),
        3.75: (1920, 512),
    },
}  # fmt: skip

# Pixels of sizes that keep the aspect ratio: those of Wan's 480p and 720p videos.
AREAS = {"480p": 480 * 832, "720p": 720 * 1280}
# Shorter side of the size that small models are trained at.
SHORTER_SIDES = {"160p": 160}
SIDE_MULTIPLE = 16  # 8 pixels a latent, 2 latents a token
MAX_ASPECT_RATIO = 4.0  # as in the buckets; longer images are cropped


def choose_size(size: str | tuple[int, int], image_height: int, image_width: int) -> tuple[int, int]:
    """Choose height and width of the video.

    Args:
        size: ``"480p"`` or ``"720p"`` (the image's aspect ratio, nearest multiples of 16 at that area),
            ``"480p-bucket"`` or ``"720p-bucket"`` (the nearest bucket), ``"160p"`` (the image's aspect ratio,
            a shorter side of 160 pixels), or the size itself.
        image_height: Height of the image in pixels.
        image_width: Width of the image in pixels.

    Returns:
        Height and width in pixels.
    """
    if not isinstance(size, str):
        return size
    ratio = image_height / image_width
    if size in BUCKETS:
        table = BUCKETS[size]
        return table[min(table, key=lambda key: abs(key - ratio))]
    ratio = min(max(ratio, 1 / MAX_ASPECT_RATIO), MAX_ASPECT_RATIO)
    if size in SHORTER_SIDES:
        shorter = SHORTER_SIDES[size]
        return _nearest_multiple(shorter * max(ratio, 1)), _nearest_multiple(shorter * max(1 / ratio, 1))
    area = AREAS[size]
    return _nearest_multiple(math.sqrt(area * ratio)), _nearest_multiple(math.sqrt(area / ratio))


def resolution_of(height: int, width: int) -> str:
    """Return ``"480p"`` or ``"720p"``, whichever is nearer in area: the key of presets and TeaCache."""
    return "480p" if height * width < math.sqrt(AREAS["480p"] * AREAS["720p"]) else "720p"


def _nearest_multiple(length: float) -> int:
    return max(SIDE_MULTIPLE, round(length / SIDE_MULTIPLE) * SIDE_MULTIPLE)
