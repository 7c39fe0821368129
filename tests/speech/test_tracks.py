"""Tracks of turns: equal lengths, no overlap, equal loudness, and times in the video."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from multitalk.conditioning.voices import gather_voices
from multitalk.errors import InvalidInput
from multitalk.media.sound import Sound
from multitalk.request.generation_request import GenerationRequest
from multitalk.request.parts import Speech
from multitalk.speech.engine import Utterance, Word
from multitalk.speech.speak import speak
from multitalk.speech.tracks import LOUDNESS, arrange_turns

PICTURE = Image.new("RGB", (64, 64), "gray")
TONE = (np.sin(2 * np.pi * 200 * np.arange(12000) / 8000).astype(np.float32), 8000)  # 1.5 s


def tone(level: float, seconds: float, rate: int = 8000) -> Utterance:
    time = np.arange(round(seconds * rate)) / rate
    samples = (level * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    return Utterance(Sound(samples[:, None], rate), (Word("tone", 0.0, seconds),))


def test_turns_are_separated_by_the_pause() -> None:
    turns = [
        ("person1", "a", tone(0.5, 1.0)),
        ("person2", "b", tone(0.1, 0.5)),
        ("person1", "c", tone(0.05, 0.5)),
    ]
    tracks, spoken = arrange_turns(turns, pause=0.25)
    assert [(turn.person, turn.start, turn.end) for turn in spoken] == [
        ("person1", 0.0, 1.0),
        ("person2", 1.25, 1.75),
        ("person1", 2.0, 2.5),
    ]
    assert spoken[2].words == (Word("tone", 2.0, 2.5),)
    first, second = tracks["person1"].mono(), tracks["person2"].mono()
    assert len(first) == len(second) == 20000
    assert not np.any((first != 0) & (second != 0))
    for turn in spoken:
        track = tracks[turn.person].mono()
        assert np.abs(track[round(8000 * turn.start) : round(8000 * turn.end)]).max() > 0.01


def test_speakers_are_equally_loud_and_quiet_turns_stay_quiet() -> None:
    turns = [
        ("person1", "a", tone(0.5, 1.0)),
        ("person2", "b", tone(0.01, 1.0)),
        ("person1", "c", tone(0.25, 1.0)),
    ]
    tracks, _ = arrange_turns(turns, pause=0.0)
    first, second = (track.mono() for track in tracks.values())
    power = [10 * np.log10(np.mean(part**2)) for part in (first[:8000], second[8000:16000], first[16000:])]
    assert power[1] == pytest.approx(LOUDNESS, abs=0.1)
    assert 10 * np.log10((10 ** (power[0] / 10) + 10 ** (power[2] / 10)) / 2) == pytest.approx(
        LOUDNESS, abs=0.1
    )
    assert power[0] - power[2] == pytest.approx(6.02, abs=0.05)


def test_two_voices_of_an_engine_are_equally_loud() -> None:
    text = "Seven little candles were burning in the window."
    spoken = speak(Speech(text=f"(s1) {text} (s2) {text}"))
    assert all(np.abs(track.samples).max() < 0.9 for track in spoken.tracks.values())
    powers = [np.mean(track.mono()[track.mono() != 0] ** 2) for track in spoken.tracks.values()]
    assert abs(10 * np.log10(powers[0] / powers[1])) < 2


def test_a_language_and_a_voice_per_speaker() -> None:
    script = "(s1) Good morning. (s2) Bonjour, comment allez-vous? (s1) Fine."
    plain = speak(Speech(text=script))
    french = speak(Speech(text=script, language={"person2": "f"}, voices={"person2": "m4"}))
    assert french.report.voices == {"person1": plain.report.voices["person1"], "person2": "m4"}
    lengths = [[turn.end - turn.start for turn in spoken.report.turns] for spoken in (plain, french)]
    assert lengths[0][0] == pytest.approx(lengths[1][0], rel=0.02)
    assert abs(lengths[0][1] - lengths[1][1]) > 0.03 * lengths[0][1]


def test_unknown_languages_and_long_speech_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InvalidInput, match=r"'klingonese' is not available in espeak-ng\. .* --voices' lists all"
    ):
        speak(Speech(text="(s1) Hi (s2) nuqneH", language={"person2": "klingonese"}))
    monkeypatch.setenv("MAX_AUDIO_SECONDS", "1.5")
    with pytest.raises(InvalidInput, match=r"speech is longer than 1\.5 seconds"):
        speak(Speech(text="One two three four five six seven eight nine ten."))
    with pytest.raises(InvalidInput, match=r"speech is longer than 1\.5 seconds"):  # the pause counts
        speak(Speech(text="(s1) Hello. (s2) Hi!", pause=1.4))


@pytest.mark.parametrize("speech", [Speech(text="(s1)a(s2)b" * 1000, pause=10), Speech(text="a\n" * 4000)])
def test_long_pauses_are_refused_before_synthesis(speech: Speech) -> None:
    """Silence takes memory as well: the two tracks of the first script would take 3.8 GB."""

    def before_line() -> None:
        raise AssertionError("a line is synthesized")

    with pytest.raises(InvalidInput, match="speech is longer than 600 seconds"):
        speak(speech, before_line=before_line)


def test_pauses_count_towards_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between turns and lines count; a script is refused at the line that exceeds the limit."""
    script = Speech(text="(s1) Hello.\nHello. (s2) Hello.", pause=0.5)
    spoken = speak(script)
    seconds = spoken.tracks["person1"].seconds
    monkeypatch.setenv("MAX_AUDIO_SECONDS", f"{seconds + 0.01:.3f}")
    speak(script)
    monkeypatch.setenv("MAX_AUDIO_SECONDS", f"{seconds - 0.01:.3f}")
    with pytest.raises(InvalidInput, match="speech is longer"):
        speak(script)


def test_before_line_can_cancel() -> None:
    class StopError(Exception):
        pass

    lines = iter([None, None, StopError()])

    def before_line() -> None:
        if (error := next(lines)) is not None:
            raise error

    with pytest.raises(StopError):
        speak(Speech(text="One.\nTwo.\nThree.\nFour."), before_line=before_line)


def test_person_1_has_a_file_and_person_2_text() -> None:
    fields = {"image": PICTURE, "audio": {"person1": TONE}, "speech": "Good morning!"}
    sounds, turns, report = gather_voices(GenerationRequest(**fields))
    assert (len(sounds), turns) == (2, "together")
    assert np.array_equal(sounds[0].mono(), TONE[0])
    assert report is not None
    assert report.engine == "espeak-ng"
    assert [(turn.person, turn.start) for turn in report.turns] == [("person2", 0.0)]

    sounds, turns, report = gather_voices(GenerationRequest(**fields, turns="in_order"))
    assert turns == "in_order"
    assert report is not None
    assert report.turns[0].start == 1.5
    assert report.turns[0].words[0].start == pytest.approx(1.5, abs=0.05)
    cut = report.until(1.8)
    assert [turn.end for turn in cut.turns] == [1.8]
    assert all(word.end <= 1.8 for word in cut.turns[0].words)
    assert report.until(1.0).turns == ()


def test_speech_mixed_with_audio_of_many_channels_may_be_too_large() -> None:
    wide = (np.repeat(np.tile(TONE[0], 2)[:, None], 8, axis=1), 96000)
    speech = {"text": "(s2) Oh. " * 36, "pause": 10}
    request = GenerationRequest(image=PICTURE, audio={"person1": wide}, speech=speech)
    with pytest.raises(InvalidInput, match="8 channels at 96000 Hz"):
        gather_voices(request)


def test_person_1_has_text_and_person_2_a_file() -> None:
    request = GenerationRequest(
        image=PICTURE, audio={"person2": TONE}, speech="Good morning!", turns="in_order"
    )
    sounds, _, report = gather_voices(request)
    assert np.array_equal(sounds[1].mono(), TONE[0])
    assert report is not None
    assert [(turn.person, turn.start) for turn in report.turns] == [("person1", 0.0)]


def test_audio_and_speech_in_order_may_be_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_AUDIO_SECONDS", "2")
    fields = {"image": PICTURE, "audio": {"person1": TONE}, "speech": "Good morning to you!"}
    gather_voices(GenerationRequest(**fields))
    with pytest.raises(InvalidInput, match="longer than 2 seconds"):
        gather_voices(GenerationRequest(**fields, turns="in_order"))


def test_audio_files_alone_have_no_report() -> None:
    assert gather_voices(GenerationRequest(image=PICTURE, audio=TONE))[2] is None
