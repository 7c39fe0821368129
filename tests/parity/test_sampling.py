"""Schedule, APG and color correction, within rounding (see tests/numbers.py)."""

from __future__ import annotations

import pytest

from multitalk.sampling.color import ColorCorrection
from multitalk.sampling.guidance import ProjectedDifference
from multitalk.sampling.schedule import make_timesteps
from tests.numbers import assert_close

# Two conversions between RGB and Lab amplify rounding: kernels without AVX-512 differ by 13 epsilons.
COLOR_EPSILONS = 32


def test_schedule(load_case):
    for name, expected in load_case("schedule").tensors.items():
        steps, shift = name.split("_")
        assert_close(make_timesteps(int(steps), float(shift)), expected)


def test_adaptive_projected_guidance(load_case):
    tensors = load_case("apg").tensors
    direction = ProjectedDifference()
    for step in range(3):
        update = direction.update(tensors[f"diff_{step}"], tensors[f"cond_{step}"])
        assert_close(update, tensors[f"update_{step}"])


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_color_correction(strength, load_case):
    tensors = load_case("color_correction").tensors
    corrected = ColorCorrection(tensors["reference"][0, :, 0], strength).apply(tensors["source"][0])
    assert_close(corrected, tensors[f"strength_{strength}"][0], COLOR_EPSILONS)
