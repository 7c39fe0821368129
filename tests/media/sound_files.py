"""Audio files for the tests, made in memory."""

from __future__ import annotations

import io

import av
import numpy as np
import soundfile

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


def tone(seconds: float = 1.0, rate: int = 16000, channels: int = 1, peak: float = 0.5) -> np.ndarray:
    """A rising tone, louder in the first channel, float32 ``[n, channels]``."""
    time = np.arange(round(seconds * rate)) / rate
    wave = peak * np.sin(2 * np.pi * (200 + 150 * time) * time)
    return (wave[:, None] * np.linspace(1, 0.5, channels)).astype(np.float32)


def chord(channels: int, rate: int = 48000) -> np.ndarray:
    """One second of another steady tone in every channel: 200 Hz, 300 Hz, ... ``[n, channels]``."""
    time = np.arange(rate)[:, None] / rate
    return (0.1 * np.sin(2 * np.pi * (200 + 100 * np.arange(channels)) * time)).astype(np.float32)


def pitches(samples: np.ndarray, rate: int) -> list[int]:
    """The loudest frequency of every channel, to 100 Hz."""
    spectrum = np.abs(np.fft.rfft(samples, axis=0))
    return [round(int(peak) * rate / len(samples) / 100) * 100 for peak in spectrum.argmax(axis=0)]


def encoded(codec: str, container: str, samples: np.ndarray, rate: int, **options: str) -> bytes:
    """A compressed file by FFmpeg's encoders."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as writer:
        stream = writer.add_stream(codec, rate=rate, layout=LAYOUTS[samples.shape[1]])
        frame = av.AudioFrame.from_ndarray(
            samples.reshape(1, -1), format="flt", layout=LAYOUTS[samples.shape[1]]
        )
        frame.sample_rate = rate
        writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    return file.getvalue()


def written(samples: np.ndarray, rate: int, kind: str = "WAV", subtype: str | None = "PCM_16") -> bytes:
    """A file by libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()
