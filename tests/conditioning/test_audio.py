"""Resampling for the audio encoder."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from multitalk.conditioning.audio import to_model_rate


@pytest.mark.parametrize("rate", [8000, 22050, 44056, 44100, 48000, 192000])
@pytest.mark.parametrize("samples", [1, 7, 1999, 40048])
def test_resampling_equals_librosas(samples: int, rate: int) -> None:
    sound = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    expected = librosa.resample(sound, orig_sr=rate, target_sr=16000)
    resampled = to_model_rate(sound, rate)
    assert resampled.dtype == np.float32
    np.testing.assert_array_equal(resampled, expected)
