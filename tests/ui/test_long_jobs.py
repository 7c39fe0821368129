"""The question before a long video, and the preset for a slow machine, without a browser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from multitalk.media.sound import Sound
from multitalk.pipeline.forecast import StageCosts
from multitalk.request.generation_request import GenerationRequest
from multitalk.request.presets import PRESETS, Preset
from multitalk.request.script import PAIR
from multitalk.ui.estimates import Estimate, seconds_of
from multitalk.ui.long_jobs import Choice, question, read_choice, suggested_preset

USABLE = ("quality", "fusionx", "lightx2v")


class Worker:
    """Estimates a time that grows with the steps and the length of the video."""

    def __init__(self, step_seconds: float) -> None:
        self.step_seconds = step_seconds

    def presets(self) -> list[Preset]:
        return [PRESETS[name] for name in USABLE]

    def estimate(self, request: GenerationRequest, seconds: float) -> Estimate:
        steps = request.steps or PRESETS[request.preset or "quality"].steps
        length = min(seconds, request.max_seconds or seconds)
        return Estimate(steps * self.step_seconds * length / 5, 0, StageCosts({}))


def request_of(seconds: float, **fields: Any) -> GenerationRequest:
    sound = Sound(0.1 * np.ones((int(16_000 * seconds), 1), np.float32), 16_000)
    return GenerationRequest(image=Image.new("RGB", (64, 64)), audio=sound, **fields)


def test_a_short_video_starts_at_once():
    assert question(Worker(10.0), request_of(5.0)) is None  # type: ignore[arg-type]


def test_a_long_video_asks_and_offers_faster_ones():
    asked = question(Worker(60.0), request_of(30.0, preset="quality", steps=40))  # type: ignore[arg-type]
    assert asked is not None
    assert "4.0 h" in asked["text"]
    assert [each["changes"] for each in asked["choices"]] == [
        {"preset": "lightx2v"},
        {"max_seconds": 10.0},
        {},
    ]
    titles = [each["title"] for each in asked["choices"]]
    assert titles[0] == "Lightx2v preset (about 24 min)"
    assert titles[-1] == "Generate anyway (about 4.0 h)"


def test_only_what_helps_is_offered():
    asked = question(Worker(600.0), request_of(5.0, preset="lightx2v"))  # type: ignore[arg-type]
    assert asked is not None
    assert [each["changes"] for each in asked["choices"]] == [{}], "no faster preset, and short already"


@pytest.mark.parametrize(
    ("data", "choice"),
    [
        (None, Choice()),
        ({}, Choice()),
        ({"preset": "fusionx"}, Choice()),
        ({"accepted": True}, Choice(True)),
        ({"accepted": True, "preset": "demo", "max_seconds": -5}, Choice(True)),
        ({"accepted": True, "max_seconds": 10}, Choice(True, {"max_seconds": 10.0})),
    ],
)
def test_an_answer_is_checked(data, choice):
    assert read_choice(data, Worker(1.0)) == choice  # type: ignore[arg-type]


def test_another_preset_brings_its_own_values():
    choice = read_choice({"accepted": True, "preset": "fusionx"}, Worker(1.0))  # type: ignore[arg-type]
    assert choice.changes["preset"] == "fusionx"
    assert choice.changes["steps"] is None, "not the steps of the preset in the form"


@pytest.mark.parametrize(("step_seconds", "preset"), [(1.0, "quality"), (100.0, "lightx2v")])
def test_the_preset_to_start_with_fits_the_machine(step_seconds, preset):
    assert suggested_preset(Worker(step_seconds)) == preset  # type: ignore[arg-type]


def test_the_length_of_a_request():
    assert seconds_of(request_of(3.0)) == pytest.approx(3.0)
    both = {person: Sound(0.1 * np.ones((16_000, 1), np.float32), 16_000) for person in PAIR}
    picture = Image.new("RGB", (64, 64))
    assert seconds_of(GenerationRequest(image=picture, audio=both)) == pytest.approx(1.0)
    assert seconds_of(GenerationRequest(image=picture, audio=both, turns="in_order")) == pytest.approx(2.0)
    assert seconds_of(GenerationRequest(image=picture, speech={"text": "a" * 140})) == pytest.approx(10.0)
