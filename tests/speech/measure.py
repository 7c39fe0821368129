"""Measuring speech: pitch, and where it is silent."""

from __future__ import annotations

import numpy as np


def pitch(samples: np.ndarray, rate: int) -> float:
    """Median pitch in hertz, by autocorrelation of the louder windows."""
    size = rate // 20
    windows = samples[: len(samples) // size * size].reshape(-1, size)
    loud = windows[windows.std(1) > np.median(windows.std(1))]
    found = []
    for window in loud - loud.mean(1, keepdims=True):
        correlation = np.correlate(window, window, "full")[size - 1 :]
        first, last = rate // 400, rate // 60
        found.append(rate / (first + int(np.argmax(correlation[first:last]))))
    return float(np.median(found))


def silences(samples: np.ndarray, rate: int, shortest: float = 0.12) -> list[tuple[float, float]]:
    """Beginning and end, in seconds, of every longer stretch that is 50 dB below the loudest sample."""
    loud = np.flatnonzero(np.abs(samples) > 0.003 * np.abs(samples).max())
    ends = np.flatnonzero(np.diff(loud) > shortest * rate)
    return [(loud[index] / rate, loud[index + 1] / rate) for index in ends]
