"""Cutting text that is too long for an engine, where a reader would take a breath."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

Read = TypeVar("Read")

_CLOSING = r"[\"'”’»)\]]*"
# The first of these that a text has anywhere decides where it is cut.
_PLACES = (
    re.compile(rf"(?:[.!?…]{_CLOSING}\s+)|(?:[。！？।॥]{_CLOSING}\s*)"),  # between sentences
    re.compile(r"(?:[,;:—–]\s+)|(?:[、，；：]\s*)"),  # between clauses
    re.compile(r"\s+"),  # between words
    re.compile(r"(?s:.)"),  # anywhere
)
_SENTENCE_END = re.compile(rf"[.!?…。！？।॥]{_CLOSING}$")


def cut_text(text: str, read: Callable[[str], Read], fits: Callable[[Read], bool]) -> list[Read]:
    """Read a text in pieces that fit, as few as halving at sentence ends gives.

    A text without a sentence end inside is cut between clauses, else between words, else anywhere.

    Args:
        text: The text.
        read: What the engine makes of a piece, such as its phonemes.
        fits: Whether that is short enough.

    Returns:
        What `read` made of every piece, in order.
    """
    whole = read(text)
    if fits(whole) or len(text) < 2:
        return [whole]
    for place in _PLACES:
        cuts = [match.end() for match in place.finditer(text)]
        cuts = [cut for cut in cuts if text[:cut].strip() and text[cut:].strip()]
        if cuts:
            cut = min(cuts, key=lambda cut: abs(cut - len(text) / 2))
            halves = text[:cut].strip(), text[cut:].strip()
            return [piece for half in halves for piece in cut_text(half, read, fits)]
    return [whole]


def ends_sentence(text: str) -> bool:
    """Whether a text ends where a sentence does."""
    return _SENTENCE_END.search(text.rstrip()) is not None
