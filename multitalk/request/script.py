"""Scripts: text with turns of two speakers, ``(s1) ... (s2) ...``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidInput

PEOPLE = ("person1", "person2")
_TAG = re.compile(r"\(\s*s\s*(\d+)\s*\)", re.IGNORECASE)


@dataclass(frozen=True)
class Turn:
    """The text of one speaker until the next one speaks.

    Attributes:
        person: "person1" or "person2".
        text: The words.
        position: Character of the script where the turn begins, from 1.
    """

    person: str
    text: str
    position: int

    def lines(self) -> list[str]:
        """Split the turn at line breaks, which are pauses; lines without words are dropped."""
        return [" ".join(line.split()) for line in self.text.splitlines() if _has_words(line)]


def tagged_people(text: str) -> tuple[str, ...]:
    """Return the speakers that a script's tags name, person1 first; empty for text without tags."""
    return tuple(sorted({f"person{_number(tag)}" for tag in _TAG.finditer(text)}))


def without_tags(text: str) -> str:
    """Remove ``(s1)`` and other tags from a script."""
    return _TAG.sub(" ", text)


def read_script(text: str, untagged: str = "person1") -> list[Turn]:
    """Split a script into turns.

    Args:
        text: Words, optionally with ``(s1)`` or ``(s2)`` before each turn.
        untagged: Speaker of text without tags.

    Raises:
        InvalidInput: A tag names a third speaker, a turn has no words, or words come before the first tag.
    """
    tags = list(_TAG.finditer(text))
    if not _has_words(_TAG.sub(" ", text)):
        raise InvalidInput(f"speech must contain words to say, not {text[:40]!r}.", "speech")
    if not tags:
        return [_turn(untagged, text, 1)]
    if _has_words(text[: tags[0].start()]):
        raise InvalidInput(
            f"speech has words before {tags[0][0]} at character {tags[0].start() + 1}. "
            "Start the first turn with (s1) or (s2).",
            "speech",
        )
    turns = []
    ends = [tag.start() for tag in tags[1:]] + [len(text)]
    for tag, end in zip(tags, ends, strict=True):
        if _number(tag) not in (1, 2):
            raise InvalidInput(
                f"speech has {tag[0][:20]} at character {tag.start() + 1}. Use only (s1) and (s2).",
                "speech",
            )
        turns.append(_turn(f"person{_number(tag)}", text[tag.end() : end], tag.start() + 1))
    return turns


def _turn(person: str, text: str, position: int) -> Turn:
    if not _has_words(text):
        raise InvalidInput(f"speech has a turn without words to say at character {position}.", "speech")
    return Turn(person, text.strip(), position)


def _number(tag: re.Match[str]) -> int:
    return int(tag[1][:9])  # a prefix is enough to refuse a number of thousands of digits


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)
