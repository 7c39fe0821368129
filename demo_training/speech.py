"""Random speech by espeak-ng, and the mouth motion for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multitalk.conditioning.audio import SAMPLE_RATE, feature_count, normalize_loudness, to_model_rate
from multitalk.speech.espeak import EspeakEngine

TRAINING_VOICES = (
    "f1",
    "f2",
    "f4",
    "m1",
    "m3",
    "m4",
    "m7",
    "Annie",
    "Alex",
    "Andy",
    "linda",
    "steph",
    "john",
)
HELD_OUT_VOICES = ("f3", "f5", "m2", "m5", "anika", "robert")
LANGUAGES = ("a", "a", "a", "b", "e", "f", "i", "de")

WORDS = tuple(
    """
    we all you they people children mother water river mountain morning evening garden window paper
    bread butter apple orange yellow purple silver golden open close carry follow under over always
    never maybe because before after summer winter music dancing singing talking walking running
    reading writing number seven eleven twenty hundred island ocean weather thunder lightning animal
    elephant butterfly pocket bottle table kitchen doctor teacher student holiday travel station
    airport bicycle village city country beautiful wonderful terrible quiet loud slowly quickly
    together alone remember forget imagine believe question answer story picture colour blue house
    tree moon star fire cloud rain snow oh ah why how who now go see say make take give find keep
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Track:
    """Speech and the mouth motion for it.

    Attributes:
        samples: ``n`` float32 at 16 kHz and -23 LUFS.
        opening: One value per video frame, 0 (closed) to 1 (open).
        spread: One value per video frame, -1 (rounded) to 1 (wide).
    """

    samples: np.ndarray
    opening: np.ndarray
    spread: np.ndarray


def _smooth(values: np.ndarray) -> np.ndarray:
    padded = np.pad(values, 1, mode="edge")
    return (0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]).astype(np.float32)


def mouth_of(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute opening from loudness, and spread from brightness, one value per video frame.

    Args:
        samples: ``n`` float32 at 16 kHz and -23 LUFS.
    """
    frames = feature_count(len(samples))
    hop = SAMPLE_RATE // 25
    padded = np.pad(samples, (hop // 2, 2 * hop))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop][:frames]
    windows = windows * np.hanning(2 * hop).astype(np.float32)
    decibels = 10 * np.log10(np.mean(np.square(windows), axis=1) + 1e-9)
    opening = np.clip((decibels + 42) / 24, 0, 1) ** 1.3
    power = np.abs(np.fft.rfft(windows, axis=1))
    frequency = np.fft.rfftfreq(2 * hop, 1 / SAMPLE_RATE)
    band = (frequency > 250) & (frequency < 4000)
    center = (power[:, band] * frequency[band]).sum(1) / (power[:, band].sum(1) + 1e-3)
    spread = np.clip((center - 1450) / 550, -1, 1) * np.clip(4 * opening, 0, 1)
    return _smooth(opening), _smooth(spread)


def make_track(samples: np.ndarray) -> Track:
    """Create a track from 16 kHz samples: normalize the loudness and compute the mouth motion."""
    samples = normalize_loudness(samples.astype(np.float32))
    return Track(samples, *mouth_of(samples))


def make_sentence(random: np.random.Generator) -> str:
    """Create a random sentence with occasional commas."""
    words = [
        str(random.choice(WORDS)) + ("," if random.random() < 0.12 else "")
        for _ in range(random.integers(3, 9))
    ]
    return " ".join(words) + str(random.choice([".", "!", "?"]))


def speak_random(random: np.random.Generator, seconds: float, held_out: bool = False) -> np.ndarray:
    """Speak random sentences with pauses, mono at 16 kHz, cut to a length."""
    voice = str(random.choice(HELD_OUT_VOICES if held_out else TRAINING_VOICES))
    language = str(random.choice(LANGUAGES))
    speed = random.uniform(0.75, 1.25)
    pieces = [np.zeros(int(random.uniform(0, 0.6) * SAMPLE_RATE), np.float32)]
    while sum(map(len, pieces)) < seconds * SAMPLE_RATE:
        sound = EspeakEngine().say(make_sentence(random), voice, language, speed).sound
        pieces.append(to_model_rate(sound.mono(), sound.rate))
        pieces.append(np.zeros(int(random.uniform(0.1, 0.8) * SAMPLE_RATE), np.float32))
    return np.concatenate(pieces)[: int(seconds * SAMPLE_RATE)]


def make_random_track(seed: int, seconds: float, held_out: bool = False) -> Track:
    """Create a track of speech from a seed."""
    return make_track(speak_random(np.random.default_rng([3, seed, held_out]), seconds, held_out))
