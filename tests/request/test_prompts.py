"""Prompts that change during a video: their notations, and what each refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from multitalk import GenerationRequest
from multitalk.cli.fields import _setting_value
from multitalk.errors import InvalidInput
from multitalk.request.build import build_request
from multitalk.request.prompts import MAX_TEXTS, PromptSchedule, check_prompt


def schedule_of(prompt: Any) -> PromptSchedule:
    return PromptSchedule.of(check_prompt(prompt))


def test_a_list_of_times() -> None:
    schedule = schedule_of(
        [{"text": "calm"}, {"from": 4.5, "text": "two\nlines"}, {"from": 65, "text": "end"}]
    )
    assert schedule == PromptSchedule(("calm", "two lines", "end"), (0.0, 4.5, 65.0))
    texts = [schedule.text_at(0, seconds) for seconds in (0, 4.4, 4.5, 64, 65, 900)]
    assert texts == ["calm", "calm", "two lines", "two lines", "end", "end"]
    late = schedule_of([{"from": 2, "text": "first"}, {"from": 3, "text": "second"}])
    assert late.text_at(0, 0.0) == "first", "nothing comes before it"


def test_one_prompt_per_clip() -> None:
    schedule = schedule_of("first | second |third | fourth")
    assert schedule == PromptSchedule(("first", "second |third", "fourth"))
    assert [schedule.text_at(clip, 0.0) for clip in range(5)] == ["first", "second |third", *3 * ["fourth"]]


def test_lines_with_times() -> None:
    assert schedule_of("0:00 calm\n\n 1:02.5 smiles ") == PromptSchedule(("calm", "smiles"), (0.0, 62.5))


@pytest.mark.parametrize(
    "prompt",
    ["", "a person", "a|b", "9:16 video of a man", "0:00 calm\nand warm", " spaces  stay ", "1:75 a\n2:80 b"],
)
def test_other_text_is_one_prompt(prompt: str) -> None:
    assert schedule_of(prompt) == PromptSchedule((prompt,))


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a | | b", "empty part"),
        ("a | ", "empty part"),
        ("0:05 a\n0:05 b", "do not increase"),
        ([{"from": 5, "text": "a"}, {"from": 1, "text": "b"}], "do not increase"),
        (" | ".join(["a"] * (MAX_TEXTS + 1)), f"at most {MAX_TEXTS}"),
        ([], "empty list"),
        (["a"], "must be text or"),
        ([{"from": 59.9999, "text": "a"}, {"from": 60, "text": "b"}], "do not increase"),
        ([{"text": " "}], "without text"),
        ([{"text": 3}], "prompt.text must be text"),
        ([{"from": -1, "text": "a"}], "prompt from must be"),
        ([{"from": float("nan"), "text": "a"}], "prompt from must be"),
        ([{"form": 1, "text": "a"}], "Did you mean from"),
        ({"from": 1}, "prompt must be text"),
        ([{"from": 0, "text": "x" * 9000}, {"from": 1, "text": "x" * 9000}], "at most 10000 characters"),
    ],
)
def test_what_cannot_be_read_is_refused(prompt: Any, words: str) -> None:
    sound = (np.ones(16000, np.float32), 16000)
    with pytest.raises(InvalidInput, match=words) as caught:
        build_request({"image": Image.new("RGB", (64, 64)), "audio": sound, "prompt": prompt})
    assert str(caught.value.field).startswith("prompt")


def test_a_list_is_kept_as_text_that_gives_the_same() -> None:
    """Results save a prompt as text, and the page restores it."""
    image, sound = Image.new("RGB", (64, 64)), (np.ones(16000, np.float32), 16000)
    lines = [{"from": 0, "text": "calm"}, {"from": 0.125, "text": "smiles"}, {"from": 600, "text": "waves"}]
    request = GenerationRequest(image=image, audio=sound, prompt=lines)
    assert request.prompt == "0:00 calm\n0:00.125 smiles\n10:00 waves"
    assert GenerationRequest(image=image, audio=sound, prompt=request.prompt).prompts == request.prompts


def test_times_are_rounded_to_milliseconds() -> None:
    prompt = check_prompt([{"from": 0, "text": "calm"}, {"from": 59.9999, "text": "smiles"}])
    assert prompt == "0:00 calm\n1:00 smiles"
    assert PromptSchedule.of(prompt).starts == (0, 60)


def test_a_number_that_is_no_time_is_text() -> None:
    prompt = "0:00 a\n" + "9" * 400 + ":01 b"
    assert PromptSchedule.of(prompt).starts is None


def test_the_command_line_takes_a_list() -> None:
    assert _setting_value("prompt", '[{"from": 1, "text": "a"}]') == [{"from": 1, "text": "a"}]
    assert _setting_value("prompt", "[1, 2]") == "[1, 2]"
