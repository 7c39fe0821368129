"""Scripts: text with turns for two people, ``(s1) ... (s2) ...``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidInput

PEOPLE = ("person1", "person2")
_TAG = re.compile(r"\(\s*s\s*(\d+)\s*\)", re.IGNORECASE)


@dataclass(frozen=True)
class Turn:
    """What one person says before the next one speaks.

    Attributes:
        person: "person1" or "person2".
        text: The words.
        place: Character of the script where the turn begins, from 1, for error messages.
    """

    person: str
    text: str
    place: int

    def lines(self) -> list[str]:
        """Its lines that have words; a line break is a pause."""
        return [" ".join(line.split()) for line in self.text.splitlines() if _has_words(line)]


def tagged_people(text: str) -> tuple[str, ...]:
    """The people whose turns a script names, person1 first; empty for a text without ``(s1)`` or ``(s2)``."""
    return tuple(sorted({f"person{_number(tag)}" for tag in _TAG.finditer(text)}))


def without_tags(text: str) -> str:
    """The words alone, without ``(s1)`` and its like."""
    return _TAG.sub(" ", text)


def read_script(text: str, untagged: str = "person1") -> list[Turn]:
    """Split a script into turns.

    Args:
        text: Words, with or without ``(s1)`` and ``(s2)`` before each turn.
        untagged: Who says a text without tags.

    Raises:
        InvalidInput: A tag names a third person, a turn has no words, or words come before the first tag.
    """
    tags = list(_TAG.finditer(text))
    if not _has_words(_TAG.sub(" ", text)):
        raise InvalidInput(f"speech.text is {text[:40]!r}, but must have words to say.", "speech")
    if not tags:
        return [_turn(untagged, text, 1)]
    if _has_words(text[: tags[0].start()]):
        raise InvalidInput(
            f"speech.text has words before {tags[0][0]} at character {tags[0].start() + 1}: "
            "say whose they are with (s1) or (s2).",
            "speech",
        )
    turns = []
    ends = [tag.start() for tag in tags[1:]] + [len(text)]
    for tag, end in zip(tags, ends, strict=True):
        if _number(tag) not in (1, 2):
            raise InvalidInput(
                f"speech.text has {tag[0][:20]} at character {tag.start() + 1}, but there are only (s1) and "
                "(s2).",
                "speech",
            )
        turns.append(_turn(f"person{_number(tag)}", text[tag.end() : end], tag.start() + 1))
    return turns


def _turn(person: str, text: str, place: int) -> Turn:
    if not _has_words(text):
        raise InvalidInput(f"speech.text has a turn without words to say at character {place}.", "speech")
    return Turn(person, text.strip(), place)


def _number(tag: re.Match[str]) -> int:
    return int(tag[1][:9])  # a number of thousands of digits isn't worth reading to its end


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)
