"""Color correction against scikit-image, which the reference uses."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from skimage import color
from torch.utils._python_dispatch import TorchDispatchMode

from multitalk.sampling.color import ColorCorrection, lab_to_rgb, rgb_to_lab


def as_image(channels: torch.Tensor) -> np.ndarray:
    return channels.movedim(0, -1).numpy()


def colors(*shape: int) -> torch.Tensor:
    """Random sRGB values, dark ones among them."""
    values = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    values[:, ::2] *= 0.05
    return values


def test_the_conversions_agree_with_scikit_image():
    rgb = colors(64, 48)
    lab = rgb_to_lab(rgb)
    np.testing.assert_allclose(as_image(lab), color.rgb2lab(as_image(rgb)), atol=3e-4)  # of 100
    lab *= 1.4  # out of gamut, too
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = color.lab2rgb(as_image(lab))
    np.testing.assert_allclose(as_image(lab_to_rgb(lab)), expected, atol=2e-5)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-3), (torch.bfloat16, 0.5)])
def test_each_frame_gets_the_statistics_of_the_reference(dtype, bound):
    def muted(*shape):  # no color leaves the gamut
        return colors(*shape) * 0.3 - 0.2

    reference, frames = muted(32, 32), (muted(5, 32, 32) * 0.7).to(dtype)
    corrected = ColorCorrection(reference, 1.0).apply(frames)
    assert (corrected.shape, corrected.dtype) == (frames.shape, dtype)
    expected = rgb_to_lab((reference + 1) / 2).mean(dim=(1, 2))
    for frame in corrected.float().unbind(1):
        mean = rgb_to_lab((frame + 1) / 2).mean(dim=(1, 2))
        assert (mean - expected).abs().max() < bound  # of 100


@pytest.mark.parametrize("value", [-1.0, 0.2, 1.0])
def test_a_plain_reference_corrects_nothing(value):
    """A video may begin with a black frame."""
    frames = colors(3, 16, 16) * 2 - 1
    reference = torch.full((3, 16, 16), value) + 0.002 * torch.randn(3, 16, 16)
    assert torch.equal(ColorCorrection(reference, 1.0).apply(frames), frames)


def test_a_grey_frame_stays_finite():
    frames = torch.zeros(3, 2, 16, 16)
    corrected = ColorCorrection(colors(16, 16) * 2 - 1, 1.0).apply(frames)
    assert corrected.isfinite().all()
    assert (corrected == corrected[:, :, :1, :1]).all()


class NoHostCopies(TorchDispatchMode):
    """Fails for what would wait for a GPU."""

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        assert operation not in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
            torch.ops.aten._to_copy.default,
        ), operation
        return operation(*arguments, **(keywords or {}))


def test_frames_stay_on_their_device():
    reference, frames = torch.empty(3, 8, 8, device="meta"), torch.empty(3, 4, 8, 8, device="meta")
    with NoHostCopies():
        corrected = ColorCorrection(reference, 0.5).apply(frames)
    assert corrected.device.type == "meta"
