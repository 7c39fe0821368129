"""espeak-ng: rate, pitch, pauses and word times of its speech, and its errors."""

from __future__ import annotations

import _ctypes
import ctypes
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import espeakng_loader
import numpy as np
import pytest

from multitalk.errors import InvalidInput
from multitalk.media.sound import Sound
from multitalk.request.parts import Speech
from multitalk.request.voices import KOKORO_VOICES
from multitalk.speech.espeak import RATE, EspeakEngine
from multitalk.speech.speak import LINE_PAUSE, choose_engine, speak
from tests.speech.measure import pitch, silences

SENTENCE = "Seven little candles were burning in the window of the old house."  # 17 syllables
SYLLABLES = {
    "a": (SENTENCE, 17),
    "b": (SENTENCE, 17),
    "e": ("La casa blanca tiene una ventana muy pequeña y una puerta verde.", 22),
    "i": ("Domani mattina andiamo tutti insieme a vedere il mare.", 20),
    "f": ("Nous allons demain matin à la maison de mon ami.", 15),
}


def synthesize(text: str, voice: str, language: str = "a", speed: float = 1.0) -> Sound:
    return EspeakEngine().say(text, voice, language, speed).sound


@pytest.mark.parametrize("speed", [0.7, 1.0, 1.5])
@pytest.mark.parametrize("language", SYLLABLES)
def test_speaking_rate(speed: float, language: str) -> None:
    text, syllables = SYLLABLES[language]
    sound = synthesize(text, "f2", language, speed)
    assert sound.samples.dtype == np.float32
    assert sound.rate == 22050
    # Spanish, Italian and French have a sixth more syllables per second (Pellegrino 2011)
    assert 2 <= syllables / sound.seconds / speed <= (6 if language in "ab" else 7.5)


def test_two_people_differ_in_pitch() -> None:
    spoken = speak(Speech(text=f"(s1) {SENTENCE} (s2) {SENTENCE}"))
    first, second = (pitch(track.mono()[track.mono() != 0], track.rate) for track in spoken.tracks.values())
    assert first > 1.3 * second


def test_it_is_silent_at_pauses_only() -> None:
    text = "(s1) Good morning to you.\nThe weather is wonderful (s2) Oh yes, it really is! (s1) See you later"
    spoken = speak(Speech(text=text, pause=0.5))
    mixed = sum(track.mono() for track in spoken.tracks.values())
    pauses = silences(np.asarray(mixed), spoken.tracks["person1"].rate)
    first, second, third = spoken.report.turns
    line_end = next(word.end for word in first.words if word.text == "you.")
    comma = next(word.end for word in second.words if word.text.startswith("yes"))
    expected = [(line_end, LINE_PAUSE), (first.end, 0.5), (comma, None), (second.end, 0.5)]
    assert len(pauses) == len(expected), pauses
    for (start, end), (place, length) in zip(pauses, expected, strict=True):
        # the pause at a comma belongs to the word before it, which ends where the next one begins
        assert abs((end if length is None else start) - place) < 0.1
        assert length is None or abs(end - start - length) < 0.05
    assert third.end == pytest.approx(spoken.tracks["person1"].seconds, abs=0.001)


def test_words_are_timed() -> None:
    text = "Well-known candles, in the 25 windows - of the old house."
    utterance = choose_engine().say(text, "f2")
    words = utterance.words
    assert " ".join(word.text for word in words) == text
    assert words[0].start == pytest.approx(0, abs=0.05)
    assert words[-1].end == pytest.approx(utterance.sound.seconds)
    assert all(0.05 < word.end - word.start < 1 for word in words)
    assert all(one.end == two.start for one, two in pairwise(words))
    # the silence at the comma ends where the next word begins
    (pause,) = silences(utterance.sound.mono(), utterance.sound.rate, shortest=0.02)
    assert pause[1] == pytest.approx(next(word.start for word in words if word.text == "in the"), abs=0.06)


@pytest.mark.parametrize("language", ["a", "b", "e", "f", "h", "i", "j", "p", "z", "de"])
def test_languages(language: str) -> None:
    assert synthesize("Melodia 1 2 3", "m1", language).seconds > 0.4


@pytest.mark.parametrize("speed", [0.48, 2.73])
def test_the_limits_of_speed_in_the_error_are_valid(speed: float) -> None:
    assert synthesize("Hello.", "f2", speed=speed).seconds > 0.1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"voice": "af_heart"}, "af_heart"),
        ({"language": "klingonese"}, "klingonese"),
        ({"speed": 0.1}, "0.48 to 2.73"),
        ({"speed": 0.479}, "0.48 to 2.73"),
        ({"speed": 2.731}, "0.48 to 2.73"),
        ({"text": "\0 ..."}, "nothing that espeak-ng can pronounce"),
    ],
)
def test_errors_name_the_invalid_value(arguments: dict, part: str) -> None:
    defaults = {"text": SENTENCE, "voice": "f2", "language": "a", "speed": 1.0}
    with pytest.raises(InvalidInput, match=part):
        synthesize(**{**defaults, **arguments})


def test_substitutes_of_kokoros_voices_have_the_same_sex(caplog: pytest.LogCaptureFixture) -> None:
    engine = choose_engine()
    with caplog.at_level(logging.WARNING):
        substitutes = {voice: engine.resolve_voice(voice) for voice in KOKORO_VOICES}
    assert "af_heart" in caplog.text
    women = {voice for name, voice in substitutes.items() if name[1] == "f"}
    men = {voice for name, voice in substitutes.items() if name[1] == "m"}
    assert not women & men
    pitches = {voice: pitch(synthesize(SENTENCE, voice).mono(), RATE) for voice in women | men}
    assert min(pitches[voice] for voice in women) > 1.2 * max(pitches[voice] for voice in men)
    assert substitutes["af_heart"] != substitutes["af_bella"]
    assert engine.resolve_voice("am_adam:3+af_heart") == substitutes["am_adam"]
    assert speak(Speech(text="Hi", voices={"person1": "am_adam"})).report.voices == {
        "person1": substitutes["am_adam"]
    }


@pytest.mark.parametrize(("voice", "similar"), [("Alica", "Alicia"), ("qqq", "Alex")])
def test_the_error_for_an_unknown_voice_names_similar_ones(voice: str, similar: str) -> None:
    with pytest.raises(InvalidInput, match=f"{voice!r} is not available in espeak-ng. Use one of") as caught:
        speak(Speech(text="Hello", voices={"person1": voice}))
    assert caught.value.field == "speech"
    message = str(caught.value)
    assert similar in message
    assert "multitalk doctor --voices" in message
    assert len(message) < 160


def test_speech_is_the_same_from_several_threads() -> None:
    alone = synthesize(SENTENCE, "m3").samples
    with ThreadPoolExecutor(4) as pool:
        sounds = list(pool.map(lambda voice: synthesize(SENTENCE, voice).samples, ["m3", "f2"] * 4))
    for sound in sounds[::2]:
        np.testing.assert_array_equal(sound, alone)


def test_speech_does_not_depend_on_previous_texts() -> None:
    first = synthesize("Hello there, my friend.", "f1").samples
    synthesize("Something else entirely.", "m3")
    np.testing.assert_array_equal(synthesize("Hello there, my friend.", "f1").samples, first)


def test_noise_does_not_depend_on_the_time() -> None:
    """By default the noise in some voices is seeded with the time in seconds."""
    before = synthesize("Hello there, my friend.", "f2").samples
    second = int(time.time())
    while int(time.time()) == second:
        time.sleep(0.05)
    np.testing.assert_array_equal(synthesize("Hello there, my friend.", "f2").samples, before)


def test_speech_is_the_same_while_the_packaged_library_is_loaded() -> None:
    held = ctypes.CDLL(espeakng_loader.get_library_path())  # as phonemizer does
    try:
        first, again = (synthesize("Hello there, my friend.", "f1").samples for _ in range(2))
    finally:
        _ctypes.dlclose(held._handle)
    np.testing.assert_array_equal(first, again)
