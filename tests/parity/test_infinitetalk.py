"""InfiniteTalk against the published reference: the parts of a clip, and whole videos.

``../shared/infinitetalk`` holds all cases, ``tests/parity/data`` a short one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.conditioning.clip import ClipCondition, ClipConditioner
from multitalk.media.source_video import FramePosition, read_video
from multitalk.pipeline import clips
from multitalk.pipeline.executor import LocalExecutor
from multitalk.sampling.denoise import VelocityModel

from .conftest import INFINITETALK_FULL, recorded
from .test_end_to_end import FRAMES_BOUND, LATENTS_BOUND

PARTS_BOUND = 3e-6
DECODING_BOUND = 2  # of 255: converters of YUV to RGB round differently
SHORT = "e2e_image_teacache"
FULL_CASES = (
    "e2e_image_single_cfg",
    "e2e_image_two_people_apg_color",
    "e2e_video_clip_fusionx",
    "e2e_video_single_fast",
    "e2e_video_two_people_turns",
)
CASES = (SHORT, *FULL_CASES) if INFINITETALK_FULL.is_dir() else (SHORT,)


def load(folder: Path, name: str) -> SimpleNamespace:
    info: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return SimpleNamespace(tensors=load_file(folder / f"{name}.safetensors"), info=info, folder=folder)
