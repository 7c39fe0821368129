"""Common names of fields: they work in Python, JSON files and --set, and errors have the name in use."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from pydantic import ValidationError

from multitalk.cli.fields import request_fields
from multitalk.cli.main import build_parser, main
from multitalk.errors import InvalidInput
from multitalk.request.aliases import COMMON_NAMES, override, translate
from multitalk.request.build import build_request, read_json_fields
from multitalk.request.generation_request import GenerationRequest

VOICE = (np.sin(np.arange(16000) / 16000 * 2000).astype(np.float32) * 0.5, 16000)
BASE: dict[str, Any] = {"image": Image.new("RGB", (200, 100), "gray"), "audio": VOICE}
VALUES: list[tuple[dict[str, Any], str, Any]] = [
    ({"num_inference_steps": 8}, "steps", 8),
    ({"guidance_scale": 2.5}, "text_guidance", 2.5),
    ({"audio_guidance_scale": 3}, "audio_guidance", 3.0),
    ({"num_frames": 41}, "frames_per_clip", 41),
    ({"generator_seed": 7}, "seed", 7),
    ({"height": 64, "width": 112}, "size", (64, 112)),
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with an image and an audio file."""
    BASE["image"].save(tmp_path / "face.png")
    soundfile.write(tmp_path / "voice.wav", *VOICE)
    return tmp_path


def by_command(folder: Path, *argv: str) -> GenerationRequest:
    """Build the request of ``multitalk generate``."""
    options = ["--image", str(folder / "face.png"), "--audio", str(folder / "voice.wav"), *argv]
    return build_request(request_fields(build_parser().parse_args(["generate", "-o", "x.mp4", *options])))


def settings(fields: dict[str, Any]) -> list[str]:
    return [text for name, value in fields.items() for text in ("--set", f"{name}={json.dumps(value)}")]


def test_every_common_name_is_tested() -> None:
    assert {name for fields, _, _ in VALUES for name in fields} == {*COMMON_NAMES, "height", "width"}


@pytest.mark.parametrize(("fields", "field", "value"), VALUES, ids=lambda value: str(value))
def test_names_in_python_json_files_and_set(
    files: Path, fields: dict[str, Any], field: str, value: Any
) -> None:
    job = files / "job.json"
    job.write_text(json.dumps({"image": "face.png", "audio": "voice.wav", **fields}))
    for request in (
        GenerationRequest(**BASE, **fields),
        build_request({**BASE, **fields}),
        build_request(read_json_fields(job)),
        by_command(files, *settings(fields)),
        by_command(files, "--request", str(job)),
        build_request({**BASE, **translate(fields)}),
    ):
        assert getattr(request, field) == value
        assert type(getattr(request, field)) is type(value)
        assert field in request.model_fields_set


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({"num_inference_steps": 0}, "steps", "num_inference_steps must be a whole number from 1 to 200"),
        (
            {"guidance_scale": "x"},
            "text_guidance",
            "guidance_scale must be a number from 0 to 1000",
        ),
        (
            {"audio_guidance_scale": -1},
            "audio_guidance",
            "audio_guidance_scale must be a number from 0 to 1000",
        ),
        ({"num_frames": 80}, "frames_per_clip", "num_frames must be one of 5, 9, 13, ... (4n+1) up to 1001"),
        ({"generator_seed": None}, "seed", "generator_seed must be a whole number from -1"),
        (
            {"height": 100, "width": 64},
            "size",
            "height and width must be multiples of 16 from 64 to 2048",
        ),
        ({"height": 64, "width": 32}, "size", "width must be a whole number from 64 to 2048, not 32"),
        ({"height": "a", "width": 64}, "size", "height must be a whole number from 64 to 2048, not 'a'"),
        ({"height": 64}, "size", "height is set (64), but width is missing. Set both."),
        ({"width": 64, "height": None}, "size", "width is set (64), but height is missing. Set both."),
        (
            {"steps": 4, "num_inference_steps": 4},
            "steps",
            "steps and num_inference_steps set the same",
        ),
        (
            {"generator_seed": 1, "seed": 1},
            "seed",
            "generator_seed and seed set the same field.",
        ),
        (
            {"size": "480p", "height": 64, "width": 64},
            "size",
            "size and height and width set the same",
        ),
        ({"size": "480p", "width": 64}, "size", "size and width set the same field. Set one of them."),
        ({"num_frame": 5}, "num_frame", "'num_frame' is not a field of a request. Did you mean num_frames?"),
    ],
)
def test_errors_have_the_name_that_was_used(
    files: Path, fields: dict[str, Any], field: str, sentence: str
) -> None:
    job = files / "job.json"
    job.write_text(json.dumps({"image": "face.png", "audio": "voice.wav", **fields}))
    for build in (
        lambda: build_request({**BASE, **fields}),
        lambda: build_request(read_json_fields(job)),
        lambda: by_command(files, *settings(fields)),
        lambda: build_request({**BASE, **translate(fields)}),
    ):
        with pytest.raises(InvalidInput, match=f"^{re.escape(sentence)}") as caught:
            build()
        assert caught.value.field == field
        assert str(caught.value).endswith(".")
    with pytest.raises(ValidationError, match=re.escape(sentence)):
        GenerationRequest(**BASE, **fields)


def test_null_under_one_name_does_not_conflict() -> None:
    fields = {"steps": None, "num_inference_steps": 4, "seed": 3, "generator_seed": None}
    request = build_request({**BASE, **fields, "height": None, "width": None})
    assert (request.steps, request.seed, request.size) == (4, 3, "480p")
    assert "size" not in request.model_fields_set
    assert build_request({**BASE, "size": None, "height": 64, "width": 64}).size == (64, 64)


def test_set_overrides_the_request_file_under_any_name(files: Path) -> None:
    job = files / "job.json"
    fields = {
        "steps": 4,
        "generator_seed": 1,
        "height": 64,
        "width": 64,
        "num_frames": 21,
        "motion_frames": 5,
    }
    job.write_text(json.dumps(fields))
    changes = ("num_inference_steps=8", "seed=2", "size=480p", "num_frames=45")
    request = by_command(files, "--request", str(job), *(text for c in changes for text in ("--set", c)))
    assert (request.steps, request.seed, request.size, request.frames_per_clip) == (8, 2, "480p", 45)
    assert by_command(files, "--request", str(job), "--set", "width=128").size == (64, 128)
    assert override({"size": "480p", "steps": 4}, {"height": 64}) == {"steps": 4, "height": 64}


def test_an_error_of_set_is_one_sentence(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(files)
    argv = ["generate", "-o", "out.mp4", "--image", "face.png", "--audio", "voice.wav"]
    assert main([*argv, "--set", "num_frames=20"]) == 2
    assert capsys.readouterr().err.startswith("error: num_frames must be one of 5, 9, 13")


def test_the_worker_may_mix_all_names() -> None:
    fields = {"sample_steps": "8", "guidance_scale": 2, "num_frames": 21, "mode": "clip"}
    assert translate(fields) == {
        "steps": 8,
        "text_guidance": 2,
        "frames_per_clip": 21,
        "max_seconds": 21 / 25,
    }
    with pytest.raises(InvalidInput, match=r"sample_steps must be a whole number .*, not 'many'"):
        translate({"sample_steps": "many"})
    with pytest.raises(InvalidInput, match="sample_steps and num_inference_steps set the same field"):
        translate({"sample_steps": "8", "num_inference_steps": 8})
    with pytest.raises(InvalidInput, match="'image_path' is not a field of a request"):
        build_request({"image_path": "face.png"})
