"""Prompts that change during a video."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInput
from .checks import check_names, check_text
from .numbers import Range, shown

# Each is encoded once and stays on the device.
MAX_TEXTS = 50
EXAMPLE = '[{"from": 0, "text": "..."}, {"from": 4.5, "text": "..."}]'
_TIMED_LINE = re.compile(r"(\d{1,4}):([0-5]\d(?:\.\d+)?)\s+(\S.*)")
_NEXT_CLIP = re.compile(r"\s\|(?=\s)")


@dataclass(frozen=True)
class PromptSchedule:
    """Which prompt each clip gets.

    Attributes:
        texts: The prompts in order.
        starts: Second from which each applies; None: one prompt per clip, the last for all that follow.
    """

    texts: tuple[str, ...]
    starts: tuple[float, ...] | None = None

    @classmethod
    def of(cls, prompt: str) -> PromptSchedule:
        """Read a prompt's notation.

        Args:
            prompt: One prompt; prompts for one clip each, separated by " | "; or at least two lines that
                all start with a time, such as "0:04 She smiles.".

        Raises:
            InvalidInput: A part is empty, the times do not increase, or there are too many parts.
        """
        lines = [line.strip() for line in prompt.splitlines() if line.strip()]
        timed = [_TIMED_LINE.fullmatch(line) for line in lines]
        starts = None
        if len(lines) > 1 and all(timed):
            texts = tuple(line[3] for line in timed if line)
            starts = tuple(60 * int(line[1]) + float(line[2]) for line in timed if line)
            if list(starts) != sorted(set(starts)):
                raise InvalidInput("prompt has times that do not increase from line to line.", "prompt")
        else:
            texts = tuple(text.strip() for text in _NEXT_CLIP.split(f" {prompt} "))
            if len(texts) > 1 and not all(texts):
                raise InvalidInput("prompt has an empty part beside |. Write a prompt there.", "prompt")
        if len(texts) > MAX_TEXTS:
            raise InvalidInput(
                f"prompt has {len(texts)} parts, but at most {MAX_TEXTS} can be used.", "prompt"
            )
        return cls(texts if len(texts) > 1 else (prompt,), starts)

    def text_at(self, clip: int, seconds: float) -> str:
        """Return the prompt of a clip: its number, and the second at which its new frames start."""
        if self.starts is None:
            return self.texts[min(clip, len(self.texts) - 1)]
        current = sum(start <= seconds for start in self.starts) - 1
        return self.texts[max(0, current)]


def check_prompt(value: Any) -> str:
    """Check a prompt; a list of ``{"from": seconds, "text": ...}`` is returned as lines with times.

    Raises:
        InvalidInput: It is neither text nor such a list, or :meth:`PromptSchedule.of` refuses it.
    """
    if isinstance(value, (list, tuple)):
        value = _as_lines(value)
    prompt = check_text(value, "prompt")
    PromptSchedule.of(prompt)
    return prompt


def _as_lines(entries: list[Any] | tuple[Any, ...]) -> str:
    lines = []
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise InvalidInput(f"prompt must be text or {EXAMPLE}, not a list with {shown(entry)}.", "prompt")
        check_names(entry, ("from", "text"), "field of prompt")
        seconds = Range(0, 86400).check(entry.get("from", 0), "prompt.from") or 0
        text = " ".join(check_text(entry.get("text"), "prompt", "prompt.text").split())
        if not text:
            raise InvalidInput("prompt has an entry without text.", "prompt")
        minutes, rest = divmod(round(seconds, 3), 60)  # 59.9999 is 1:00
        lines.append((f"{int(minutes)}:{rest:06.3f}".rstrip("0").rstrip("."), text))
    if not lines:
        raise InvalidInput(f"prompt must be text or {EXAMPLE}, not an empty list.", "prompt")
    return lines[0][1] if len(lines) == 1 else "\n".join(f"{time} {text}" for time, text in lines)
