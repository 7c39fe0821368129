"""Sizes that keep the image's aspect ratio, and the default size of a preset."""

from __future__ import annotations

import pytest
from PIL import Image

from multitalk import GenerationRequest
from multitalk.conditioning.resolve import choose_size
from multitalk.request.presets import PRESETS

VOICE = ([0.5, -0.5] * 4000, 16000)


@pytest.mark.parametrize("size", ["480p", "720p"])
@pytest.mark.parametrize(
    ("height", "width"), [(720, 1280), (1280, 720), (1000, 1000), (900, 1200), (333, 500)]
)
def test_the_aspect_ratio_is_kept_at_the_sizes_area(size, height, width):
    chosen_height, chosen_width = choose_size(size, height, width)
    area = {"480p": 480 * 832, "720p": 720 * 1280}[size]
    assert chosen_height % 16 == chosen_width % 16 == 0
    assert chosen_height / chosen_width == pytest.approx(height / width, rel=0.04)
    assert chosen_height * chosen_width == pytest.approx(area, rel=0.05)


def test_16_to_9_is_not_cropped_to_2_to_1():
    assert choose_size("720p", 1080, 1920) == (720, 1280)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(384, 384, (160, 160)), (384, 576, (160, 240)), (576, 384, (240, 160)), (100, 1000, (160, 640))],
)
def test_the_small_size_has_a_fixed_shorter_side(height, width, expected):
    assert choose_size("160p", height, width) == expected


def test_a_request_without_a_size_uses_the_presets():
    picture = Image.new("RGB", (64, 64))
    without_size = GenerationRequest(image=picture, audio=VOICE)
    assert without_size.size_with(PRESETS["demo"]) == "160p"
    assert without_size.size_with(PRESETS["quality"]) == "480p"
    with_size = GenerationRequest(image=picture, audio=VOICE, size="480p")
    assert with_size.size_with(PRESETS["demo"]) == "480p"
