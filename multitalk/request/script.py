"""Scripts: text with turns of up to four speakers, ``(s1) ... (s2) ...``.

Tags may be full-width, ``（s1）``, or in brackets, ``[s1]``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidInput
from .plain_text import has_words, spoken_lines

PEOPLE = ("person1", "person2", "person3", "person4")
PAIR = PEOPLE[:2]  # what the weights were trained for; on the page, only a dialogue script has more
_TAG = re.compile(
    r"[*_]{0,3}[(（\[［【]\s*[sｓ]\s*(\d+)\s*[)）\]］】][*_]{0,3}(?:\s*[:：][*_]{0,3})?", re.IGNORECASE
)
# The start of a line such as "Anna: Hello.", "**Speaker 2:** Hi" or "Dr. Brown (smiles): Hi"; not of a URL.
_NAMED_LINE = re.compile(
    r"""\s*[*_]{0,3}
    (?P<name>(?:(?:Dr|Mr|Mrs|Ms|Prof)\.\s)?[^\W\d_][^:：()（）*.!?。！？,，;；]{0,39}?)
    [*_]{0,3}\s*(?:[(（][^)）]{0,80}[)）])?\s*[*_]{0,3}[:：](?!//)(?:[*_]{1,3}(?=\s|$))?\s*""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Turn:
    """The text of one speaker until the next one speaks.

    Attributes:
        person: A name in ``PEOPLE``.
        text: The words.
        position: Character of the script where the turn begins, from 1.
    """

    person: str
    text: str
    position: int

    def lines(self) -> list[str]:
        """Split the turn at line breaks, which are pauses, into lines without Markdown."""
        return spoken_lines(self.text)


def tagged_people(text: str) -> tuple[str, ...]:
    """Return the speakers that a script's tags name, person1 first; empty for text without tags."""
    return tuple(sorted({f"person{_number(tag)}" for tag in _TAG.finditer(text)}))


def without_tags(text: str) -> str:
    """Remove ``(s1)`` and other tags from a script."""
    return _TAG.sub(" ", text)


def tag_names(text: str) -> str:
    """Replace the names in a dialogue of lines such as ``Anna: Hello.`` by (s1) to (s4), in their order.

    Lines without a name continue a turn. Text with tags, or whose first line has no name, is unchanged.

    Raises:
        InvalidInput: There are more than four names.
    """
    lines = text.splitlines()
    first = next((line for line in lines if has_words(line)), "")
    if _TAG.search(text) or not _NAMED_LINE.match(first):
        return text
    names: dict[str, str] = {}  # as written first, by name in lower case
    for index, line in enumerate(lines):
        if (found := _NAMED_LINE.match(line)) is not None:
            name = found["name"].strip()
            names.setdefault(name.casefold(), name)
            speaker = [*names].index(name.casefold()) + 1
            lines[index] = f"(s{speaker}) {line[found.end() :]}"
    if len(names) > len(PEOPLE):
        raise InvalidInput(
            f"dialogue has more than four speakers ({', '.join([*names.values()][:6])}). "
            "Use up to four names, or (s1) to (s4).",
            "script",
        )
    return "\n".join(lines)


def dialogue_people(text: str) -> tuple[str, ...]:
    """Return the speakers of a dialogue, from person1 to the last one that it names: two to four.

    Args:
        text: A script or lines with names, maybe unfinished.
    """
    try:
        last = max((_number(tag) for tag in _TAG.finditer(tag_names(text))), default=0)
    except InvalidInput:  # too many names
        return PEOPLE
    return PEOPLE[: max(last, len(PAIR))]


def check_dialogue(text: str) -> None:
    """Check that a dialogue has turns of two speakers or more, numbered without a gap.

    Raises:
        InvalidInput: It has not.
    """
    tagged = tagged_people(text)
    missing = [f"(s{person[-1]})" for person in dialogue_people(text) if person not in tagged]
    if missing and set(tagged) <= set(PEOPLE):  # read_script reports other speakers
        raise InvalidInput(
            f"dialogue: no {' and no '.join(missing)} in the script. Start each turn with (s1) or (s2), or "
            "with the speaker's name and a colon.",
            "script",
        )


def read_script(text: str, untagged: str = "person1") -> list[Turn]:
    """Split a script into turns.

    Args:
        text: Words, optionally with ``(s1)`` to ``(s4)`` before each turn.
        untagged: Speaker of text without tags.

    Raises:
        InvalidInput: A tag names a fifth speaker, a turn has no words, or words come before the first tag.
    """
    tags = list(_TAG.finditer(text))
    if not spoken_lines(_TAG.sub(" ", text)):
        raise InvalidInput(f"speech must contain words to say, not {text[:40]!r}.", "speech")
    if not tags:
        return [_turn(untagged, text, 1)]
    if has_words(text[: tags[0].start()]):
        raise InvalidInput(
            f"speech has words before {tags[0][0][:20]} at character {tags[0].start() + 1}. "
            "Start the first turn with (s1) or (s2).",
            "speech",
        )
    turns = []
    ends = [tag.start() for tag in tags[1:]] + [len(text)]
    for tag, end in zip(tags, ends, strict=True):
        if not 1 <= _number(tag) <= len(PEOPLE):
            raise InvalidInput(
                f"speech has {tag[0][:20]} at character {tag.start() + 1}. Use only (s1) to (s4).",
                "speech",
            )
        turns.append(_turn(f"person{_number(tag)}", text[tag.end() : end], tag.start() + 1))
    return turns


def _turn(person: str, text: str, position: int) -> Turn:
    turn = Turn(person, text.strip(), position)
    if not turn.lines():
        raise InvalidInput(f"speech has a turn without words to say at character {position}.", "speech")
    return turn


def _number(tag: re.Match[str]) -> int:
    return int(tag[1][:9])  # a prefix is enough to refuse a number of thousands of digits
