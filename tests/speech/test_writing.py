"""Text in a writing system that a language does not read is refused, never spelled letter by letter."""

from __future__ import annotations

import re

import pytest

from multitalk.errors import InvalidInput
from multitalk.request.parts import Speech
from multitalk.speech.espeak import WRITINGS, EspeakEngine
from multitalk.speech.kokoro import KokoroEngine
from multitalk.speech.speak import check_speech, speak
from multitalk.speech.writing import WRITINGS as ALL

# A word of each writing system that espeak-ng reads, with the language that an error names.
WORDS = {
    "ARABIC": ("مرحبا", "ar"),
    "ARMENIAN": ("Բարև", "hy"),
    "BENGALI": ("নমস্কার", "bn"),
    "CHEROKEE": ("ᎣᏏᏲ", "chr-US-Qaaa-x-west"),
    "CJK": ("你好世界", "z"),
    "CYRILLIC": ("Привет", "ru"),
    "DEVANAGARI": ("नमस्ते", "h"),
    "ETHIOPIC": ("ሰላም", "am"),
    "GEORGIAN": ("გამარჯობა", "ka"),
    "GREEK": ("Καλημέρα", "el"),
    "GUJARATI": ("નમસ્તે", "gu"),
    "GURMUKHI": ("ਸਤਿਕਾਰ", "pa"),
    "HANGUL": ("안녕하세요", "ko"),
    "HEBREW": ("שלום", "he"),
    "HIRAGANA": ("こんにちは", "j"),
    "KANNADA": ("ನಮಸ್ಕಾರ", "kn"),
    "KATAKANA": ("カタカナ", "j"),
    "MALAYALAM": ("നമസ്കാരം", "ml"),
    "MYANMAR": ("မင်္ဂလာပါ", "my"),
    "ORIYA": ("ନମସ୍କାର", "or"),
    "SINHALA": ("ආයුබෝවන්", "si"),
    "TAMIL": ("வணக்கம்", "ta"),
    "TELUGU": ("నమస్కారం", "te"),
    "THAI": ("สวัสดี", "th"),
}
ENGINE = EspeakEngine()


def check(text: str, language: str | dict[str, str] = "a") -> None:
    check_speech(Speech(text=text, language=language), "person1", ENGINE)


def test_every_writing_is_tested() -> None:
    assert set(WORDS) == set(WRITINGS)
    assert set(WRITINGS) < set(ALL)
    assert {code for codes in WRITINGS.values() for code in codes.split()} < set(ENGINE.languages())


@pytest.mark.parametrize("writing", WORDS)
def test_an_error_names_a_language_that_reads_it(writing: str) -> None:
    word, code = WORDS[writing]
    with pytest.raises(InvalidInput) as caught:
        check(f"{word}! 25.")
    assert caught.value.field == "speech"
    assert str(caught.value).startswith(f"speech has {ALL[writing][0]} ('{word}")
    advice = f"Set the language, for example to {code} ({ALL[writing][2]})."
    assert str(caught.value).endswith(f"does not read in language a. {advice}")
    check(word, code)
    # the names of letters take several times as long as the word: 0.1 to 0.3 s per letter
    assert ENGINE.say(word, "f2", code).sound.seconds < 0.35 * len(word)


@pytest.mark.parametrize("text", ["你好", "日本語", "مرحبا", "こんにちは", "Привет", "สวัสดี"])
def test_the_engine_alone_would_spell_it(text: str) -> None:
    """What these errors prevent."""
    spelled = ENGINE.say(text, "f2", "a").sound.seconds
    code = {"Привет": "ru", "สวัสดี": "th", "مرحبا": "ar", "こんにちは": "ja"}.get(text, "cmn")
    assert spelled > 2 * ENGINE.say(text, "f2", code).sound.seconds


@pytest.mark.parametrize(
    ("text", "language", "sentence"),
    [
        ("日本語です。", "a", "Set the language to j (Japanese) and write it in kana, or use an audio file."),
        ("日本語です。", "j", "Write it in kana, or use an audio file."),
        ("日本語", "j", "Write it in kana, set the language to z (Mandarin Chinese), or use an audio file."),
        ("これは iPhone です。", "ja", "Write it in kana, or use an audio file."),
        ("Привет", "j", "in language j. Set the language, for example to ru (Russian)."),
        ("これは Привет です。", "j", "in language j. Use an audio file."),
        ("今日は", "z", "Set the language to j (Japanese) and write it in kana, or use an audio file."),
        ("Hello မင်္ဂလာပါ", "a", "Burmese letters"),
        ("Hello", "ky", "for example to a (American English)."),
        ("ជំរាបសួរ", "a", "Khmer letters"),
        ("ជំរាបសួរ", "a", "does not read in language a. Use an audio file."),
        ("(s1) Hello. (s2) Привет!", "a", "Set the language of person2, for example to ru (Russian)."),
        ("(s1) Hello. (s2) Привет!", {"person1": "ru"}, "Set the language of person2, for example to ru"),
        ("# 标题\n* **重点**", "a", "Chinese characters ('标题')"),
    ],
)
def test_what_to_do(text: str, language: str | dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(sentence)):
        check(text, language)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("你好世界", "Set the language, for example to z (Mandarin Chinese)."),
        ("日本語です。", "Set the language, for example to j (Japanese)."),
        ("नमस्ते", "Set the language, for example to h (Hindi)."),
        *((text, "Use an audio file.") for text in ("مرحبا", "안녕하세요", "Привет", "Καλημέρα")),
    ],
)
def test_kokoro_names_a_language_that_reads_it(kokoro: KokoroEngine, text: str, advice: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(f"Kokoro does not read in language a. {advice}")):
        check_speech(Speech(text=text), "person1", kokoro)
    if code := re.search(r"to (\w) \(", advice):
        check_speech(Speech(text=text, language=code[1]), "person1", kokoro)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("π is about 3, µ and Ω are units, and USB is a plug. ½ of 5 €", "a"),
        ("Café, naïve, Łódź, Đặng, ǅ, 1ª, Hawaiʻi, x² ﬁn", "a"),
        ("ｈｅｌｌｏ １２３ 𝐇𝐞𝐥𝐥𝐨", "a"),
        ("我用 iPhone 打电话。", "z"),
        ("你好", "yue"),
        ("これは USB です。", "j"),
        ("Это мой iPhone.", "ru"),
        ("Zdravo, здраво", "sr"),
        ("नमस्ते iPhone", "h"),
        ("(s1) Hello. (s2) Привет! (s1) Bye.", {"person2": "ru"}),
        ("Grüße 🎉 ¿qué? № 5 ℃ ①", "de"),
    ],
)
def test_what_a_language_reads(text: str, language: str | dict[str, str]) -> None:
    check(text, language)


def test_full_width_letters_are_read_as_plain_ones() -> None:
    plain, full = (speak(Speech(text=text)).tracks["person1"] for text in ("Hello 12", "Ｈｅｌｌｏ １２"))
    assert plain.seconds == full.seconds


def test_kokoro_reads_kanji(kokoro) -> None:
    assert kokoro.writings("j") == kokoro.writings("ja") == {"LATIN", "HIRAGANA", "KATAKANA", "CJK"}
    for text, code in [("日本語です。", "j"), ("你好 iPhone", "z"), ("नमस्ते", "h")]:
        check_speech(Speech(text=text, language=code), "person1", kokoro)
    with pytest.raises(InvalidInput, match=r"Kokoro does not read in language a\. Set .* to j \(Japanese\)"):
        check_speech(Speech(text="日本語です。"), "person1", kokoro)
    with pytest.raises(InvalidInput, match=r"Korean letters .* Kokoro does not read .*\. Use an audio file"):
        check_speech(Speech(text="안녕하세요"), "person1", kokoro)
