"""The measure of drift, on drawn videos that change in a known way."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from benchmarks import drift
from demo_training.drawing import still
from demo_training.scenes import HELD_OUT_SEED, make_scene

FACE = (40, 40, 120, 120)


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    return still(make_scene(HELD_OUT_SEED + 1))


def clip_of(frame: np.ndarray) -> np.ndarray:
    return np.repeat(frame[None], 3, axis=0)


def test_a_video_that_does_not_change(frame: np.ndarray) -> None:
    for clip in drift.measure_drift([clip_of(frame), clip_of(frame)], FACE):
        assert (clip.colors, clip.sharpness) == (0, 1)
        assert clip.identity == pytest.approx(1)


def test_each_change_is_in_its_measure(frame: np.ndarray) -> None:
    warmer = frame.copy()
    warmer[..., 0] -= 5  # no red value of a drawing is below 5
    blurred = np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(2)))
    moved = np.roll(frame, 3, axis=1)
    other = still(make_scene(HELD_OUT_SEED + 8))
    clips = [clip_of(one) for one in (frame, warmer, blurred, moved, other)]
    _, colors, sharpness, motion, identity = drift.measure_drift(clips, FACE)
    assert colors.colors == pytest.approx(5)
    assert sharpness.sharpness < 0.5
    assert motion.identity == pytest.approx(1), "a head may move"
    assert colors.identity > 0.99
    assert identity.identity < 0.8


def test_the_table_of_the_demo_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert drift.main(["--clips", "2", "--model", "multitalk"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "MultiTalk:"
    assert lines[-2].startswith("| 1 | 0.0 | 1.00 |")
    assert lines[-1].startswith("| 2 |")
