"""Schedule, APG and colour correction: exact."""

from __future__ import annotations

import pytest
import torch

from multitalk.sampling.color import ColorCorrection
from multitalk.sampling.guidance import ProjectedDifference
from multitalk.sampling.schedule import make_timesteps


def assert_exact(value: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(value, expected, rtol=0, atol=0)


def test_schedule(load_case):
    for name, expected in load_case("schedule").tensors.items():
        steps, shift = name.split("_")
        assert_exact(make_timesteps(int(steps), float(shift)), expected)


def test_adaptive_projected_guidance(load_case):
    """Exact; but torch 2.5 sums the direction's norm in another order than the torch of the numbers."""
    older = torch.__version__.startswith("2.5.")
    tensors = load_case("apg").tensors
    direction = ProjectedDifference()
    for step in range(3):
        update, expected = (
            direction.update(tensors[f"diff_{step}"], tensors[f"cond_{step}"]),
            tensors[f"update_{step}"],
        )
        if not older:
            assert_exact(update, expected)
            continue
        # the norm is one factor of all elements, so that rounding it otherwise moves them together
        error = (update - expected).norm() / expected.norm()
        assert error < 4 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_color_correction(strength, load_case):
    tensors = load_case("color_correction").tensors
    corrected = ColorCorrection(tensors["reference"][0, :, 0], strength).apply(tensors["source"][0])
    assert_exact(corrected, tensors[f"strength_{strength}"][0])
