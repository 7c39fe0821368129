"""Kokoro with a small checkpoint: all languages, from baked files only, without network access."""

from __future__ import annotations

import logging
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from multitalk.errors import InvalidInput, WeightsError
from multitalk.request.parts import Speech
from multitalk.speech.engine import ends_sentence
from multitalk.speech.kokoro import LANGUAGES, KokoroEngine
from multitalk.speech.speak import choose_engine, speak
from tests.runtime.small_device import DEVICE, SmallDevice

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_network")]

TEXTS = {
    "a": "Hello there, my friend.",
    "b": "Hello there, my friend.",
    "e": "Buenos días, ¿qué tal?",
    "f": "Bonjour, comment allez-vous ?",
    "h": "नमस्ते, आप कैसे हैं?",
    "i": "Ciao, come stai?",
    "j": "こんにちは、元気ですか。",
    "p": "Olá, tudo bem?",
    "z": "你好，今天天气很好。",
}


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of phonemes in each call of the model."""
    from kokoro import KModel

    counts: list[int] = []
    forward = KModel.forward

    def counted(model, phonemes, *arguments, **options):
        counts.append(len(phonemes))
        return forward(model, phonemes, *arguments, **options)

    monkeypatch.setattr(KModel, "forward", counted)
    return counts


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages(kokoro: KokoroEngine, language: str) -> None:
    text = TEXTS[language]
    utterance = kokoro.say(text, "af_heart", language)
    sound = utterance.sound
    assert (sound.rate, sound.channels, sound.samples.dtype) == (24000, 1, np.float32)
    assert not sound.is_silent()
    # in this model a phoneme takes about 1/40 s; a Chinese character is several phonemes
    assert 0.02 * len(text) < sound.seconds < (0.3 if language in "jz" else 0.1) * len(text)
    if language not in "jz":  # which have no spaces between words
        assert " ".join(word.text for word in utterance.words) in (text, text.removesuffix(" ?"))
        assert all(one.start < one.end <= two.start + 1e-6 for one, two in pairwise(utterance.words))
        assert utterance.words[-1].end <= sound.seconds


def test_english_with_and_without_spacy(
    kokoro: KokoroEngine, baked: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "I read a book."
    with_spacy = kokoro._pipeline("a").read(text)[0]
    assert with_spacy.tokens is not None
    assert [token.tag for token in with_spacy.tokens] == ["PRP", "VBD", "DT", "NN", "."]
    assert with_spacy.symbols == "ˌI ɹˈɛd ɐ bˈʊk."  # past tense, from the tag that spaCy's model predicts

    shutil.copytree(baked / "kokoro", tmp_path / "kokoro", ignore=shutil.ignore_patterns("en_core_web_sm"))
    bare = choose_engine(tmp_path, "cpu")
    assert isinstance(bare, KokoroEngine)
    with caplog.at_level(logging.WARNING, "multitalk.speech"):
        utterance = bare.say("Hello there, my friend.", "af_heart", "a")
        british = bare._pipeline("b").read("Hello there, my friend.")[0]
    assert caplog.text.count("no en_core_web_sm") == 2
    assert british.symbols.startswith("həlˈQ ð")
    american = bare._pipeline("a").read("Hello there, my friend.")[0]
    assert american.symbols.startswith("həlˈO ðˈɛɹ, mI fɹˈɛnd")
    assert [word.text for word in utterance.words] == ["Hello", "there,", "my", "friend."]


def test_it_loads_once_and_is_deterministic(baked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from multitalk.speech import kokoro_pipeline

    loads: list[str] = []
    load = kokoro_pipeline.load_model
    monkeypatch.setattr(
        kokoro_pipeline, "load_model", lambda *arguments: loads.append("") or load(*arguments)
    )
    engine = choose_engine(baked, "cpu")
    assert isinstance(engine, KokoroEngine)
    assert not engine.is_loaded
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with torch.inference_mode():  # as the pipeline calls it
        first = engine.say("Ciao!", "em_alex", "i")
    assert torch.rand(1) == expected  # the global random state is unchanged
    again = engine.say("Ciao!", "em_alex", "i")
    engine.say("Hola!", "em_alex", "e")
    assert np.array_equal(first.sound.samples, again.sound.samples)
    assert loads == [""]


def test_it_moves_between_devices(baked: Path) -> None:
    engine = KokoroEngine.from_folder(baked, "cpu")
    assert engine is not None
    before = engine.say("Good morning.", "af_heart").sound.samples
    with SmallDevice() as device:
        engine.move(DEVICE)
        assert device.live >= sum(parameter.nbytes for parameter in engine._model.parameters())
        assert np.array_equal(engine.say("Good morning.", "af_heart").sound.samples, before)


def test_voices_are_mixed_by_weights(kokoro: KokoroEngine, baked: Path) -> None:
    pipeline = kokoro._pipeline("i")
    heart, bella = (
        torch.load(baked / "kokoro" / "voices" / f"{name}.pt", weights_only=True)
        for name in ("af_heart", "af_bella")
    )
    assert torch.allclose(pipeline.mix({"af_heart": 0.6, "af_bella": 0.4}), 0.6 * heart + 0.4 * bella)
    sounds = [
        kokoro.say("Ciao, come stai?", voice, "i").sound.samples
        for voice in ("af_heart", "af_heart:2", "af_heart:0.6+af_bella:0.4", "af_bella")
    ]
    assert np.array_equal(sounds[0], sounds[1])
    assert len({sound.tobytes() for sound in sounds}) == 3


def test_speed(kokoro: KokoroEngine) -> None:
    slow, fast = (
        kokoro.say("Buongiorno a tutti quanti.", "af_heart", "i", speed).sound for speed in (0.5, 2.0)
    )
    assert slow.seconds > 1.5 * fast.seconds


def test_long_text_is_split_below_the_limit_of_the_model(kokoro: KokoroEngine, lengths: list[int]) -> None:
    sentence = "La casa blanca tiene una ventana muy pequeña y una puerta verde, ¿verdad? "
    text = sentence * 7
    utterance = kokoro.say(text, "em_alex", "e")
    assert len(lengths) == 2
    assert max(lengths) <= 510
    assert sum(lengths) > 510
    assert " ".join(word.text for word in utterance.words) == " ".join(text.split())
    assert all(one.end <= two.start + 1e-6 for one, two in pairwise(utterance.words))


@pytest.mark.parametrize("language", ["a", "j", "z"])
def test_long_text_is_split_between_sentences(kokoro: KokoroEngine, language: str) -> None:
    pieces = kokoro._pipeline(language).read(TEXTS[language] + (" " + TEXTS[language]) * 99)
    assert 2 <= len(pieces) <= 40
    assert all(len(piece.symbols) <= 510 and ends_sentence(piece.text) for piece in pieces)
    assert "".join(piece.text for piece in pieces).count(TEXTS[language][:3]) == 100


def test_a_long_sentence_is_split(kokoro: KokoroEngine) -> None:
    for language, text in (("e", "casa blanca " * 100), ("a", "hello " * 200), ("z", "你好" * 300)):
        pieces = kokoro._pipeline(language).read(text)
        assert all(0 < len(piece.symbols) <= 510 for piece in pieces)
        assert sum(len(piece.symbols) for piece in pieces) > 900


def test_a_script_gives_each_speaker_a_track(kokoro: KokoroEngine) -> None:
    script = "(s1) Good morning. (s2) Buongiorno a tutti! (s1) Bye."
    spoken = speak(Speech(text=script, language={"person2": "i"}), engine=kokoro)
    assert spoken.report.engine == "Kokoro"
    assert spoken.report.voices == {
        "person1": "af_heart",
        "person2": "am_adam",
    }  # the only male voices: am_, em_
    first, second = (track.mono() for track in spoken.tracks.values())
    assert len(first) == len(second)
    assert not np.any((first != 0) & (second != 0))
    assert [turn.person for turn in spoken.report.turns] == ["person1", "person2", "person1"]
    for one, two in pairwise(spoken.report.turns):
        assert two.start - one.end == pytest.approx(0.3, abs=0.001)
    for turn in spoken.report.turns:
        samples = spoken.tracks[turn.person].mono()[round(24000 * turn.start) : round(24000 * turn.end)]
        assert np.abs(samples).max() > 0.02
        assert turn.words[0].start >= turn.start
        assert turn.words[-1].end <= turn.end + 1e-6


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"voice": "f2"}, "'f2' is not available in Kokoro. Use one of af_bella, af_heart"),
        ({"voice": "af_heart+nobody"}, "'nobody' is not available"),
        ({"language": "klingonese"}, "'klingonese' is not available in Kokoro. Use one of a, b, e"),
        ({"text": "..."}, "nothing that Kokoro can pronounce"),
        ({"text": "Привет"}, "nothing that Kokoro can pronounce"),
    ],
)
def test_errors_name_the_invalid_value(kokoro: KokoroEngine, arguments: dict, part: str) -> None:
    defaults = {"text": "Ciao", "voice": "af_heart", "language": "z", "speed": 1.0}
    with pytest.raises(InvalidInput, match=part):
        kokoro.say(**{**defaults, **arguments})


def test_errors_name_damaged_files(baked: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(baked / "kokoro", tmp_path / "kokoro")
    engine = choose_engine(tmp_path, "cpu")
    (folder / "voices" / "af_heart.pt").write_bytes(b"no voice")
    (folder / "kokoro-v1_0.pth").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"kokoro-v1_0\.pth cannot be loaded"):
        engine.say("Ciao", "af_heart", "i")
    shutil.copyfile(baked / "kokoro" / "kokoro-v1_0.pth", folder / "kokoro-v1_0.pth")
    with pytest.raises(WeightsError, match=r"af_heart\.pt cannot be read"):
        engine.say("Ciao", "af_heart", "i")
    assert engine.say("Ciao", "em_alex", "i").sound.seconds > 0  # other voices still work
