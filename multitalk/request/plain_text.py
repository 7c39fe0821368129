"""Text as it is spoken: without Markdown, in plain letters."""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE = re.compile("[\ufeff\u200b\u2060]")  # byte order mark, zero-width space, word joiner
_FENCE = re.compile(r"\s*(?:```|~~~)")
_RULES = (
    (re.compile(r"^\s*(?:>\s*)+"), ""),  # quotes
    (re.compile(r"^\s*#{1,6}\s+(.*?)\s*#*\s*$"), r"\1"),  # headings
    (re.compile(r"^\s*[-*+•]\s+(?:\[[ xX]\]\s+)?"), ""),  # list items and check boxes
    (re.compile(r"!?\[([^\]\n]{0,300})\]\([^)\n]{0,2000}\)"), r"\1"),  # links and images
    (re.compile(r"`+|~~"), ""),
    (re.compile(r"(?<!\d)\*{2,3}|\*{2,3}(?!\d)"), ""),  # bold, but not 2**3
    (re.compile(r"(?<![A-Za-z0-9*])\*(?=\S)([^*]{1,500})(?<=\S)\*"), r"\1"),  # italic, but not 2*3 and a_b
    (re.compile(r"(?<!\w)_{1,3}(?=[^\s_])(.{1,500}?)(?<=[^\s_])_{1,3}(?!\w)"), r"\1"),
)


def spoken_lines(text: str) -> list[str]:
    """Split a text into the lines that are spoken: without Markdown, in plain letters, each with words."""
    lines = _INVISIBLE.sub("", text).splitlines()
    lines = [plain_letters(_without_marks(line)) for line in lines if not _FENCE.match(line)]
    return [" ".join(line.split()) for line in lines if has_words(line)]


def has_words(text: str) -> bool:
    """Whether a text has a letter or a digit."""
    return any(character.isalnum() for character in text)


def plain_letters(text: str) -> str:
    """Replace full-width, half-width and mathematical letters, which are spelled, by usual ones."""
    if text.isascii():
        return text
    return re.sub(
        r"\w[\wﾞﾟ]*",
        lambda word: unicodedata.normalize("NFKC", word[0]) if _has_variants(word[0]) else word[0],
        text,
    )


def _has_variants(word: str) -> bool:
    kinds = ("<wide>", "<narrow>", "<font>")
    return any(unicodedata.decomposition(letter).startswith(kinds) for letter in word)


def _without_marks(line: str) -> str:
    """Remove the Markdown marks of a line."""
    if line.lstrip().startswith("|"):  # a row of a table
        line = ", ".join(cell.strip() for cell in line.split("|") if has_words(cell))
    for pattern, replacement in _RULES:
        line = pattern.sub(replacement, line)
    return line
