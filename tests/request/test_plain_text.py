"""Markdown and unusual letters in text that is spoken."""

from __future__ import annotations

import pytest

from multitalk.errors import InvalidInput
from multitalk.request.plain_text import spoken_lines
from multitalk.request.script import read_script

MARKDOWN = """\
# A heading
## Another one ##

- an *item* and a **bold** one
* [x] done
+ plus
• point
> a quote with `code` and ~~gone~~
> > a quote in a quote
| name | age |
|:-----|----:|
| Anna | 30 |
---
***
```python
print
```
[a link](https://example.com/a_b) and ![a picture](a.png)
***both*** __bold__ _slanted_ word
这是**重点**，这是*重点*内容
1. first
"""


def test_marks_are_not_spoken() -> None:
    assert spoken_lines(MARKDOWN) == [
        *("A heading", "Another one", "an item and a bold one", "done", "plus", "point"),
        *("a quote with code and gone", "a quote in a quote", "name, age", "Anna, 30", "print"),
        *("a link and a picture", "both bold slanted word", "这是重点，这是重点内容", "1. first"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("2*3 = 6", "2 * 3 and 4 * 5", "2**3 is 8", "a*b + c*d", "snake_case and __init__x"),
        *("C# and #1", "5 > 3", "well-known", "- ", "a [b] (c)", "x^2 ~ 4", "3/4 | 5"),
    ],
)
def test_other_marks_stay(text: str) -> None:
    assert spoken_lines(text) == ([text] if text.strip("- ") else [])


def test_wide_letters_become_plain() -> None:
    assert spoken_lines("Ｈｅｌｌｏ １２，ｶﾞｽ 𝐛𝐨𝐥𝐝 m² ½ 1ª ﬁn") == ["Hello 12，ガス bold m² ½ 1ª ﬁn"]


@pytest.mark.parametrize(
    "text", ["```python\n```", "---\n***", "[](https://example.com)", "(s1) Hi. (s2) ```x"]
)
def test_marks_alone_are_no_words(text: str) -> None:
    with pytest.raises(InvalidInput, match="words to say"):
        read_script(text)


def test_long_texts_of_marks_end() -> None:
    for mark in ("[", "*a ", " _a", "`", "> ", "|", "**", "[a](", "# "):
        spoken_lines(mark * (10_000 // len(mark)))
