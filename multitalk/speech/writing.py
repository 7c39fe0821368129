"""Writing systems: which ones a language reads, so that no text is spelled letter by letter."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby

from ..errors import InvalidInput
from .engine import SpeechEngine

# By the first word of their letters' Unicode names: a description, and a language that reads them.
WRITINGS = {
    "LATIN": ("Latin letters", "a", "American English"),
    "CJK": ("Chinese characters", "z", "Mandarin Chinese"),
    "HIRAGANA": ("Japanese kana", "j", "Japanese"),
    "KATAKANA": ("Japanese kana", "j", "Japanese"),
    "HANGUL": ("Korean letters", "ko", "Korean"),
    "ARABIC": ("Arabic letters", "ar", "Arabic"),
    "CYRILLIC": ("Cyrillic letters", "ru", "Russian"),
    "DEVANAGARI": ("Devanagari letters", "h", "Hindi"),
    "GREEK": ("Greek letters", "el", "Greek"),
    "HEBREW": ("Hebrew letters", "he", "Hebrew"),
    "THAI": ("Thai letters", "th", "Thai"),
    "BENGALI": ("Bengali letters", "bn", "Bengali"),
    "GURMUKHI": ("Gurmukhi letters", "pa", "Punjabi"),
    "GUJARATI": ("Gujarati letters", "gu", "Gujarati"),
    "ORIYA": ("Odia letters", "or", "Odia"),
    "TAMIL": ("Tamil letters", "ta", "Tamil"),
    "TELUGU": ("Telugu letters", "te", "Telugu"),
    "KANNADA": ("Kannada letters", "kn", "Kannada"),
    "MALAYALAM": ("Malayalam letters", "ml", "Malayalam"),
    "SINHALA": ("Sinhala letters", "si", "Sinhala"),
    "GEORGIAN": ("Georgian letters", "ka", "Georgian"),
    "ARMENIAN": ("Armenian letters", "hy", "Armenian"),
    "ETHIOPIC": ("Ethiopic letters", "am", "Amharic"),
    "MYANMAR": ("Burmese letters", "my", "Burmese"),
    "CHEROKEE": ("Cherokee letters", "chr-US-Qaaa-x-west", "Cherokee"),
    "KHMER": ("Khmer letters", "km", "Khmer"),
    "LAO": ("Lao letters", "lo", "Lao"),
    "TIBETAN": ("Tibetan letters", "bo", "Tibetan"),
    "MONGOLIAN": ("Mongolian letters", "mn", "Mongolian"),
}
_SAME = {"IDEOGRAPHIC": "CJK", "KATAKANA-HIRAGANA": "KATAKANA"}
KANA = frozenset({"HIRAGANA", "KATAKANA"})
_IN_KANA = frozenset({"CJK", "LATIN"})  # kanji and foreign words, which can be written in kana


def check_readable(text: str, language: str, engine: SpeechEngine, person: str = "") -> None:
    """Check that a language reads all words of a text.

    Args:
        text: A line that is spoken.
        language: Its language code.
        engine: The speech engine.
        person: The speaker, if there are two.

    Raises:
        InvalidInput: It does not; the error names a language that does.
    """
    reads = engine.writings(language)
    words = list(_words(text))
    word, writing = next(((word, writing) for word, writing in words if writing not in reads), ("", ""))
    if not word:
        return
    raise InvalidInput(
        f"speech has {WRITINGS[writing][0]} ({word[:40]!r}), which {engine.name} does not read in language "
        f"{language}. {_advice({writing for _, writing in words}, writing, language, engine, person)}",
        "speech",
    )


def _advice(used: set[str], writing: str, language: str, engine: SpeechEngine, person: str) -> str:
    """Return what to do about a text with these writing systems, of which `writing` cannot be read."""
    japanese = [WRITINGS["HIRAGANA"]] if used & KANA else []
    set_language = f"et the language of {person}" if person else "et the language"
    readers = [
        f"{code} ({name})"
        for _, code, name in (*japanese, WRITINGS[writing])
        if code in engine.languages() and used <= engine.writings(code)
    ]
    if engine.writings(language) & KANA and writing in _IN_KANA:  # the text may be Japanese or Chinese
        other = f", s{set_language} to {readers[0]}" if readers else ""
        return f"Write it in kana{other}, or use an audio file."
    if readers:
        return f"S{set_language}, for example to {readers[0]}."
    if japanese and used <= KANA | _IN_KANA and japanese[0][1] in engine.languages():
        return f"S{set_language} to j (Japanese) and write it in kana, or use an audio file."
    return "Use an audio file."


def _words(text: str) -> Iterator[tuple[str, str]]:
    """Yield each word with each of its writing systems, without letters that every language spells."""
    for word in text.split():
        for run in re.findall(r"[^\W\d_]+", word):
            for writing, letters in groupby(run, _writing_of):
                if writing is not None and not _is_spelled("".join(letters), writing):
                    yield word, writing


def _writing_of(letter: str) -> str | None:
    """Return a letter's writing system; None if it is not in `WRITINGS`, such as a modifier letter."""
    name = unicodedata.name(letter, "").split(" ")[0]
    name = _SAME.get(name, name)
    return name if name in WRITINGS else None


def _is_spelled(letters: str, writing: str) -> bool:
    """Whether letters are spelled in any language: those of formulas, and abbreviations such as USB."""
    if writing not in ("LATIN", "GREEK"):
        return False
    return len(letters) == 1 or (writing == "LATIN" and letters.isupper())
