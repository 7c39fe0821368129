"""Small weights, a picture and voices, as jobs carry them."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

FAST = {"size": [64, 64], "steps": 2, "text_guidance": 1.0, "audio_guidance": 2.0}


def png(width: int = 90, height: int = 60) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def wav(seconds: float, seed: int = 0, rate: int = 16000) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).astype(np.float32)
    soundfile.write(file, noise, rate, format="WAV")
    return file.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def job_fields(seconds: float = 0.2, **fields: Any) -> dict[str, Any]:
    """The input of a job that takes a moment."""
    return {"image": base64_of(png()), "audio": base64_of(wav(seconds)), **FAST, **fields}


def frame_count(video: bytes) -> int:
    """Frames of an mp4, all of them decoded."""
    import av

    with av.open(io.BytesIO(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def decoded(answer: dict[str, Any]) -> bytes:
    """The video in an answer."""
    return base64.b64decode(answer["video_base64"])


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from multitalk.bake.bake import bake
    from tests.small_checkpoint import make_small_checkpoint

    folder = tmp_path_factory.mktemp("serverless")
    bake(make_small_checkpoint(folder / "published"), folder / "baked", precision="float32")
    return folder / "baked"


@pytest.fixture
def client_files(tmp_path: Path) -> Path:
    """A folder with a picture and two voices."""
    (tmp_path / "face.png").write_bytes(png())
    (tmp_path / "voice.wav").write_bytes(wav(1.4))
    (tmp_path / "other.wav").write_bytes(wav(0.2, seed=1))
    return tmp_path


def client_settings(**fields: Any) -> list[str]:
    """Options of the client for a job that takes a moment."""
    settings = {**FAST, "frames_per_clip": 21, "motion_frames": 5, **fields}
    return [option for name, value in settings.items() for option in ("--set", f"{name}={json.dumps(value)}")]
