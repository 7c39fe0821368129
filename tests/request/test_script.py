"""Scripts, voice mixes, and splitting long text, without a speech engine."""

from __future__ import annotations

import re

import pytest

from multitalk.errors import InvalidInput
from multitalk.request.parts import Speech
from multitalk.request.script import (
    PEOPLE,
    check_dialogue,
    dialogue_people,
    read_script,
    tag_names,
    tagged_people,
    without_tags,
)
from multitalk.request.voices import KOKORO_VOICES, choose_voice, parse_mix
from multitalk.speech.engine import cut_text, ends_sentence


def test_turns() -> None:
    turns = read_script("(s1) hello\nthere (S2) hi! ( s1 ) bye")
    assert [(turn.person, turn.text, turn.position) for turn in turns] == [
        ("person1", "hello\nthere", 1),
        ("person2", "hi!", 18),
        ("person1", "bye", 27),
    ]
    assert [turn.person for turn in read_script("Hello there.", "person2")] == ["person2"]
    assert read_script(" One,  two\n\n...\nthree ")[0].lines() == ["One, two", "three"]


@pytest.mark.parametrize(
    "script",
    [
        "（s1）你好（s2）再见",
        "[s1]你好[S2]再见",
        "（ｓ１）你好【Ｓ２】再见",
        "(s1): 你好\n**[s2]**：再见",
        "（ s１ )你好\ufeff[s2）再见",
    ],
)
def test_tags_in_other_forms(script: str) -> None:
    assert [(turn.person, turn.lines()) for turn in read_script(script)] == [
        ("person1", ["你好"]),
        ("person2", ["再见"]),
    ]
    assert tagged_people(script) == ("person1", "person2")
    assert "1" not in without_tags(script)


@pytest.mark.parametrize(
    ("script", "tagged"),
    [
        ("Anna: Hello!\nBen: Hi! It is 10:30.", "(s1) Hello!\n(s2) Hi! It is 10:30."),
        ("\nBen: Hi!\nWell?\n\nAnna: Yes.\nBEN: Good.", "\n(s1) Hi!\nWell?\n\n(s2) Yes.\n(s1) Good."),
        ("张三：你好\n李四：再见", "(s1) 你好\n(s2) 再见"),
        ("Anna: **Hi** you\nBen:**Bye**", "(s1) **Hi** you\n(s2) **Bye**"),
        ("**Speaker 1:** Hi\n__Speaker 2__: Bye", "(s1) Hi\n(s2) Bye"),
        ("Dr. Brown (smiles): Hi\nMary-Jane O'Neil（笑）：Bye", "(s1) Hi\n(s2) Bye"),
        ("(s1) Hi\nNote: b", "(s1) Hi\nNote: b"),
        ("Hello there.\nAnna: Hi", "Hello there.\nAnna: Hi"),
        ("https://example.com is a page", "https://example.com is a page"),
        ("A: Hi\nB: Hi\nC: Hi\nD: Bye\nC: Bye", "(s1) Hi\n(s2) Hi\n(s3) Hi\n(s4) Bye\n(s3) Bye"),
        ("", ""),
    ],
)
def test_names_become_tags(script: str, tagged: str) -> None:
    assert tag_names(script) == tagged


def test_errors_of_dialogues() -> None:
    with pytest.raises(InvalidInput, match=r"more than four speakers \(A, B, C, D, E\)") as caught:
        tag_names("A: Hi\nB: Hi\nC: Hi\nD: Hi\nE: Hi")
    assert caught.value.field == "script"
    for script, missing in [
        ("(s1) Hi.", r"no \(s2\) in the script"),
        ("(s2) Hi.", r"no \(s1\) in the script"),
        ("Hi.", r"no \(s1\) and no \(s2\) in the script"),
        ("(s1) Hi. (s3) Hi.", r"no \(s2\) in the script"),
    ]:
        with pytest.raises(InvalidInput, match=missing):
            check_dialogue(script)
    check_dialogue("[s2] Hi. （s1）Hi.")
    check_dialogue("(s1) Hi. (s4) Hi. (s3) Hi. (s2) Hi.")


@pytest.mark.parametrize(
    ("script", "number"),
    [
        ("", 2),
        ("(s1) Hi.", 2),
        ("(s1) Hi. (s2) Hi. (s3) Hi.", 3),
        ("A: Hi\nB: Hi\nC: Hi\nD: Hi", 4),
        ("A: Hi\nB: Hi\nC: Hi\nD: Hi\nE: Hi", 4),
        (f"(s{'9' * 9000}) Hi.", 4),
    ],
)
def test_the_speakers_of_an_unfinished_dialogue(script: str, number: int) -> None:
    assert dialogue_people(script) == PEOPLE[:number]


@pytest.mark.parametrize(
    ("script", "part"),
    [
        ("(s1) Hi. (s5) You?", r"\(s5\) at character 10"),
        ("(s1) Hi. (s2) (s1) You?", "without words to say at character 10"),
        ("(s1) Hi. (s2) ...", "without words to say at character 10"),
        ("Hi. (s2) You?", r"before \(s2\) at character 5"),
        ("(s1) (s2)", "must contain words to say"),
        (f"(s1) Hi. (s{'9' * 9000}) You?", "at character 10"),
    ],
)
def test_errors_name_the_position_in_the_script(script: str, part: str) -> None:
    with pytest.raises(InvalidInput, match=part) as caught:
        read_script(script)
    assert len(str(caught.value)) < 150
    with pytest.raises(ValueError, match=part):  # the request's check is the same
        Speech(text=script)


def test_voice_mixes() -> None:
    assert parse_mix("af_heart") == {"af_heart": 1}
    assert parse_mix("af_heart:0.6+af_bella:0.4") == pytest.approx({"af_heart": 0.6, "af_bella": 0.4})
    assert parse_mix(" a : 3 + b ") == {"a": 0.75, "b": 0.25}
    assert parse_mix("a+b+a") == pytest.approx({"a": 2 / 3, "b": 1 / 3})


@pytest.mark.parametrize("mix", ["", "a+", "a:", "a:x", "a:-1", "a:0", "a:nan", "a:inf", ":1", "a:1:2"])
def test_invalid_voice_mixes(mix: str) -> None:
    with pytest.raises(InvalidInput, match=r"voice of person1 must be .* such as af_heart:0.6.*, not"):
        parse_mix(mix, "speech voice of person1")
    with pytest.raises(ValueError, match="speech voice of person1 must be"):
        Speech(text="hi", voices={"person1": mix})


@pytest.mark.parametrize("language", "abefhijpz")
def test_default_voices_of_two_speakers_differ(language: str) -> None:
    assert len(KOKORO_VOICES) == len(set(KOKORO_VOICES)) == 54
    first = choose_voice(KOKORO_VOICES, language, man=False)
    second = choose_voice(KOKORO_VOICES, language, man=True, other_than=[first])
    assert first[:2] == f"{language}f"
    assert second[1] == "m"
    assert language == "f" or second[0] == language  # French has no male voice


def test_default_voices_among_few() -> None:
    assert choose_voice(["af_sky", "af_heart"], "a", man=True, other_than=["af_heart"]) == "af_sky"
    assert choose_voice(["af_sky"], "z", man=True, other_than=["af_sky"]) == "af_sky"


def cut(text: str, limit: int) -> list[str]:
    return cut_text(text, lambda piece: piece, lambda piece: len(piece) <= limit)


def test_long_text_is_split_between_sentences() -> None:
    sentences = [f'He said "number {index} costs 3.50 now." ' for index in range(40)]
    pieces = cut("".join(sentences), 120)
    assert all(len(piece) <= 120 and ends_sentence(piece) for piece in pieces)
    assert " ".join(pieces) == "".join(sentences).strip()
    assert len(pieces) <= 2 * len("".join(sentences)) / 120
    assert cut("今日は。明日は！昨日は？", 8) == ["今日は。", "明日は！昨日は？"]


def test_long_sentences_are_split_between_clauses_then_words_then_anywhere() -> None:
    assert cut("one two three, four five six", 20) == ["one two three,", "four five six"]
    assert cut("one two three four five six", 20) == ["one two three", "four five six"]
    assert cut("x" * 50, 20) == ["x" * 12, "x" * 13, "x" * 12, "x" * 13]
    assert cut("Short enough.", 20) == ["Short enough."]


def test_a_language_for_all_speakers_or_per_speaker() -> None:
    assert Speech(text="hi", language="f").language_of("person2") == "f"
    mixed = Speech(text="hi", language={"person2": "f"})
    assert (mixed.language_of("person1"), mixed.language_of("person2")) == ("a", "f")
    for field, value, message in [
        ("language", {"person5": "a"}, "'person5' is not a person of speech language"),
        ("language", {"person1": 3}, "speech language of person1 must be text, not 3"),
        ("pause", -1, "speech pause must be a number from 0 to 10, not -1"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            Speech(**{"text": "hi", field: value})
