"""Reading environment variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import multitalk
from multitalk.errors import InvalidInput
from multitalk.runtime.environment import read_flag, read_number, read_secret, read_text

PACKAGE = Path(multitalk.__path__[0])


def test_blank_is_unset():
    assert read_text("X", environment={"X": "  "}) is None
    assert read_text("X", "y", environment={}) == "y"
    assert read_text("X", environment={"X": " a b "}) == "a b"
    assert read_flag("X", True, {"X": ""}) is True
    assert read_number("X", 3.0, "seconds", environment={"X": ""}) == 3.0


@pytest.mark.parametrize(
    ("text", "value"), [("on", True), ("TRUE", True), (" 1", True), ("Off", False), ("no", False)]
)
def test_flag(text: str, value: bool):
    assert read_flag("X", environment={"X": text}) is value


@pytest.mark.parametrize(
    ("read", "sentence"),
    [
        (lambda e: read_flag("X", environment=e), "X must be on or off, not 'maybe'."),
        (
            lambda e: read_number("X", 1.0, "seconds", environment=e),
            "X must be a number of seconds above 0, not 'maybe'.",
        ),
    ],
)
def test_an_invalid_value_names_the_variable(read, sentence: str):
    with pytest.raises(InvalidInput, match=re.escape(sentence)):
        read({"X": "maybe"})


@pytest.mark.parametrize("text", ["0", "-1", "nan", "1001", "inf"])
def test_number_out_of_range(text: str):
    with pytest.raises(InvalidInput, match="above 0 and at most 1000"):
        read_number("X", 1.0, "megabytes", maximum=1000, environment={"X": text})


def test_a_secret_is_read_as_it_is(monkeypatch):
    monkeypatch.setenv("UI_PASSWORD", " with spaces ")
    assert read_secret("UI_PASSWORD") == " with spaces "
    monkeypatch.delenv("UI_PASSWORD")
    assert read_secret("UI_PASSWORD") == ""
