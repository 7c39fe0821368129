"""``audio_scale`` of a request: its values, and what it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.errors import InvalidInput
from multitalk.pipeline.clips import ClipGenerator
from tests.media.sound_files import tone

VOICE = (tone(0.5), 16000)
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8))
TWO: dict[str, Any] = {"audio": {"person1": VOICE, "person2": (tone(0.5, peak=0.2), 16000)}}
FAST: dict[str, Any] = {"size": (64, 96), "steps": 2, "text_guidance": 1.0, "audio_guidance": 2.0}


@pytest.fixture(scope="module")
def pipeline(baked: Path) -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(baked, device="cpu", dtype=torch.float32)


def request_of(**fields: Any) -> GenerationRequest:
    return GenerationRequest.checked({"image": PICTURE, "audio": VOICE, **FAST, **fields})


def latents(pipeline: MultiTalkPipeline, **fields: Any) -> torch.Tensor:
    return next(pipeline.stream(request_of(**fields))).latents


@pytest.mark.parametrize("model", ["multitalk", "infinitetalk"])
@pytest.mark.parametrize("voices", [{}, TWO], ids=["one", "two"])
def test_one_changes_nothing_and_other_scales_do(model, voices, pipeline) -> None:
    plain = latents(pipeline, model=model, **voices)
    assert torch.equal(latents(pipeline, model=model, audio_scale=1, **voices), plain)
    assert torch.equal(latents(pipeline, model=model, audio_scale={"person1": 1.0}, **voices), plain)
    assert not torch.equal(latents(pipeline, model=model, audio_scale=0.5, **voices), plain)
    assert not torch.equal(latents(pipeline, model=model, audio_scale={"person1": 2.0}, **voices), plain)


def test_caches_work_with_it(pipeline) -> None:
    whole = latents(pipeline, audio_scale=0.5)
    for cache in ({"teacache": 0.0}, {"cache": {"name": "first_block", "threshold": 0}}):
        assert torch.equal(latents(pipeline, audio_scale=0.5, **cache), whole)


def test_the_null_audio_is_not_scaled(pipeline, monkeypatch) -> None:
    projected: list[Any] = []
    project = ClipGenerator._project

    def recorded(self: ClipGenerator, *arguments: Any) -> Any:
        projected.append(project(self, *arguments))
        return projected[-1]

    monkeypatch.setattr(ClipGenerator, "_project", recorded)
    latents(pipeline, audio_scale={"person2": 0.5}, **TWO)
    scales = {branch.audio: conditions.audio_scales for branch, conditions in projected[0].items()}
    assert scales[True].tolist() == [1.0, 0.5, 1.0]
    assert scales[False] is None
    latents(pipeline, audio_scale=1.0, **TWO)
    assert all(conditions.audio_scales is None for conditions in projected[1].values())


def test_scales_of_everybody() -> None:
    assert request_of(audio_scale=0.5).audio_scales == (0.5,)
    assert request_of(audio_scale={"person2": 2}, **TWO).audio_scales == (1.0, 2.0)
    boxed = request_of(audio_scale={"person1": 0.5}, boxes={"person1": [0, 0, 40, 60]})
    assert boxed.audio_scales == (0.5, 1.0), "the rest of the image is a silent person"


@pytest.mark.parametrize(
    ("value", "field", "words"),
    [
        (2.1, "audio_scale", "audio_scale must be a number from 0 to 2, not 2.1"),
        (-1, "audio_scale", "from 0 to 2"),
        (None, "audio_scale", "from 0 to 2, not None"),
        (True, "audio_scale", "from 0 to 2, not True"),
        ([1, 2], "audio_scale", "from 0 to 2"),
        ({"person1": "loud"}, "audio_scale.person1", "audio_scale.person1 must be a number from 0 to 2"),
        ({"persona": 1}, "persona", "not a person of audio_scale. Did you mean person"),
        (
            {"person2": 1},
            "audio_scale.person2",
            "audio_scale.person2 is set, but person2 is missing. Use person1.",
        ),
    ],
)
def test_invalid_scales(value, field, words) -> None:
    with pytest.raises(InvalidInput) as caught:
        request_of(audio_scale=value)
    assert words.replace("audio_scale.person1 must", "audio_scale person1 must") in str(caught.value)
    assert str(caught.value.field).endswith(field)
