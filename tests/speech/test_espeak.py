"""espeak-ng: it speaks, two people apart, and refuses what it doesn't know with a sentence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from multitalk.errors import InvalidInput
from multitalk.request import Speech
from multitalk.speech import TURN_PAUSE, espeak, speak
from multitalk.speech.script import read_script

SENTENCE = "Seven little candles were burning in the window of the old house."  # 17 syllables


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


@pytest.mark.parametrize("speed", [0.7, 1.0, 1.5])
def test_the_rate_of_speech_is_human(speed: float) -> None:
    sound = espeak.synthesize(SENTENCE, "f2", "a", speed)
    assert sound.samples.dtype == np.float32
    assert sound.rate == 22050
    assert 2 <= 17 / sound.seconds / speed <= 6


def test_two_people_differ_in_pitch() -> None:
    tracks = speak(Speech(text=f"(s1) {SENTENCE} (s2) {SENTENCE}"))
    first, second = (pitch(track.mono()[track.mono() != 0], track.rate) for track in tracks.values())
    assert first > 1.3 * second


def test_turns_do_not_overlap_and_have_one_length() -> None:
    tracks = speak(Speech(text="(s1) Good morning. (s2) Hello there! (s1) How are you?"))
    first, second = (track.mono() for track in tracks.values())
    assert sorted(tracks) == ["person1", "person2"]
    assert len(first) == len(second)
    assert not np.any((first != 0) & (second != 0))
    speaking = np.flatnonzero(second)
    pause = round(TURN_PAUSE * tracks["person1"].rate)
    assert np.flatnonzero(first[: speaking[0]])[-1] < speaking[0] - 0.95 * pause


def test_text_without_tags_is_one_person() -> None:
    assert list(speak(Speech(text="Hello there."))) == ["person1"]
    assert list(speak(Speech(text="Hello there."), untagged="person2")) == ["person2"]


@pytest.mark.parametrize("language", ["a", "b", "e", "f", "h", "i", "j", "p", "z", "de"])
def test_languages(language: str) -> None:
    assert espeak.synthesize("Melodia 1 2 3", "m1", language).seconds > 0.4


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"voice": "af_heart"}, "af_heart"),
        ({"language": "klingonese"}, "klingonese"),
        ({"speed": 0.1}, "0.48 to 2.73"),
        ({"text": "\0 ..."}, "nothing to say"),
    ],
)
def test_what_is_unknown_is_named(arguments: dict, part: str) -> None:
    defaults = {"text": SENTENCE, "voice": "f2", "language": "a", "speed": 1.0}
    with pytest.raises(InvalidInput, match=part):
        espeak.synthesize(**{**defaults, **arguments})


@pytest.mark.parametrize(
    ("script", "part"),
    [
        ("(s1) Hi. (s3) You?", r"\(s3\) at character 10"),
        ("(s1) Hi. (s2) (s1) You?", "without words at character 10"),
        ("Hi. (s2) You?", r"before \(s2\) at character 5"),
    ],
)
def test_bad_scripts_are_refused_with_the_place(script: str, part: str) -> None:
    with pytest.raises(InvalidInput, match=part):
        read_script(script)


def test_threads_get_the_same_speech_as_one() -> None:
    alone = espeak.synthesize(SENTENCE, "m3").samples
    with ThreadPoolExecutor(4) as pool:
        sounds = list(pool.map(lambda voice: espeak.synthesize(SENTENCE, voice).samples, ["m3", "f2"] * 4))
    # espeak varies a pause by some samples; two voices mixed up would be off by thousands
    assert all(abs(len(sound) - len(alone)) < 0.01 * len(alone) for sound in sounds[::2])
