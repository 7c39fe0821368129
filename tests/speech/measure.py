"""Measure pitch and silences of speech."""

from __future__ import annotations

import numpy as np


def pitch(samples: np.ndarray, rate: int) -> float:
    """Return the median pitch in Hz, by autocorrelation of the louder windows."""
    size = rate // 20
    windows = samples[: len(samples) // size * size].reshape(-1, size)
    loud = windows[windows.std(1) > np.median(windows.std(1))]
    pitches = []
    for window in loud - loud.mean(1, keepdims=True):
        correlation = np.correlate(window, window, "full")[size - 1 :]
        first, last = rate // 400, rate // 60
        pitches.append(rate / (first + int(np.argmax(correlation[first:last]))))
    return float(np.median(pitches))


def silences(samples: np.ndarray, rate: int, shortest: float = 0.12) -> list[tuple[float, float]]:
    """Return start and end in seconds of all longer passages 50 dB below the loudest sample."""
    loud = np.flatnonzero(np.abs(samples) > 0.003 * np.abs(samples).max())
    ends = np.flatnonzero(np.diff(loud) > shortest * rate)
    return [(loud[index] / rate, loud[index + 1] / rate) for index in ends]
