"""Splitting text that is too long for an engine, at natural pauses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

Converted = TypeVar("Converted")

_CLOSING = r"[\"'”’»)\]]*"
# The text is split at the first of these patterns that it contains.
_PLACES = (
    re.compile(rf"(?:[.!?…]{_CLOSING}\s+)|(?:[。！？।॥]{_CLOSING}\s*)"),  # between sentences
    re.compile(r"(?:[,;:—–]\s+)|(?:[、，；：]\s*)"),  # between clauses
    re.compile(r"\s+"),  # between words
    re.compile(r"(?s:.)"),  # anywhere
)
_SENTENCE_END = re.compile(rf"[.!?…。！？।॥]{_CLOSING}$")


def cut_text(
    text: str, convert: Callable[[str], Converted], fits: Callable[[Converted], bool]
) -> list[Converted]:
    """Convert a text in pieces that fit, by halving it recursively.

    A text is split between sentences; if it has only one, between clauses, else between words, else anywhere.

    Args:
        text: The text.
        convert: Converts a piece to the engine's input, such as phonemes.
        fits: Whether the converted piece is short enough.

    Returns:
        The converted pieces, in order.
    """
    whole = convert(text)
    if fits(whole) or len(text) < 2:
        return [whole]
    for place in _PLACES:
        cuts = [match.end() for match in place.finditer(text)]
        cuts = [cut for cut in cuts if text[:cut].strip() and text[cut:].strip()]
        if cuts:
            cut = min(cuts, key=lambda cut: abs(cut - len(text) / 2))
            halves = text[:cut].strip(), text[cut:].strip()
            return [piece for half in halves for piece in cut_text(half, convert, fits)]
    return [whole]


def ends_sentence(text: str) -> bool:
    """Whether a text ends with the end of a sentence."""
    return _SENTENCE_END.search(text.rstrip()) is not None
