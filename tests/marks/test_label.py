"""The visible label: where it is, whether it can be read, and which texts are refused."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from multitalk.errors import InvalidInput
from multitalk.marks.label import CORNERS, FONT, Label, check_label_text
from multitalk.request.build import build_request
from multitalk.request.generation_request import GenerationRequest
from multitalk.request.parts import LabelSpec
from tests.marks.clips import talking

BASE: dict[str, Any] = {"image": Image.new("RGB", (64, 64)), "speech": "Hello"}


def changed_area(frame: np.ndarray, label: Label) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of what the label changes."""
    rows, columns = np.nonzero((label.draw(frame) != frame).any(-1))
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


@pytest.mark.parametrize("corner", CORNERS)
def test_the_label_is_in_its_corner(corner: str) -> None:
    frame = talking(1)[0]
    before = frame.copy()
    top, bottom, left, right = changed_area(frame, Label("AI-generated", corner))
    assert np.array_equal(frame, before), "the given frame stays as it is"
    margins = {"top": top, "bottom": 384 - bottom, "left": left, "right": 384 - right}
    vertical, horizontal = corner.split("-")
    assert [margins.pop(vertical), margins.pop(horizontal)] == [10, 10]
    assert min(margins.values()) > 150
    assert bottom - top < 40


@pytest.mark.parametrize("size", [(64, 112), (160, 160), (480, 832), (832, 480), (720, 1280)])
def test_the_label_grows_with_the_video(size: tuple[int, int]) -> None:
    top, bottom, _, right = changed_area(np.full((*size, 3), 200, np.uint8), Label("AI"))
    assert 0.06 <= (bottom - top) / min(size) <= 0.24
    assert bottom <= size[0]
    assert right <= size[1]


@pytest.mark.parametrize("level", [0, 60, 128, 200, 255])
def test_the_text_has_contrast_on_any_background(level: int) -> None:
    """WCAG 2 asks for 4.5:1."""
    frame = np.full((480, 832, 3), level, np.uint8)
    top, bottom, left, right = changed_area(frame, Label()) if level else (435, 460, 700, 812)
    area = Label().draw(frame)[top:bottom, left:right, 0]
    light, dark = (luminance(value) for value in (area.max(), area.min()))
    assert (light + 0.05) / (dark + 0.05) >= 4.5
    assert 0.03 < (area > 230).mean() < 0.4, "there are letters"


def luminance(level: int) -> float:
    share = level / 255
    return float(share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize(
    "text",
    [
        "AI-generated",
        "Généré par IA",
        "Создано ИИ",
        "Δημιουργία ΤΝ",
        "Tạo bằng AI",
    ],
)
def test_scripts_that_can_be_drawn(text: str) -> None:
    assert check_label_text(f" {text} ") == text
    assert check_label_text("Ge\u0301ne\u0301re\u0301") == "Généré", "letters are composed"
    letters = Label(text).draw(np.zeros((200, 600, 3), np.uint8))
    assert (letters > 230).any()
    assert not np.array_equal(letters, Label(text[::-1]).draw(np.zeros((200, 600, 3), np.uint8)))


@pytest.mark.parametrize(
    ("label", "field", "words"),
    [
        ("", "label", "label has no text"),
        ("  ", "label", "label has no text"),
        ("x" * 61, "label", "at most 60 characters, not 61"),
        ("two\nlines", "label", "one line"),
        ("bell\a", "label", "one line"),
        ("\u200b", "label", "invisible"),
        ("AI\u202e", "label", "invisible"),
        ("تم إنشاؤه", "label", "that the font lacks (تمإنشاؤه). Use Latin, Greek"),
        ("Robot 🤖", "label", "that the font lacks (🤖)"),
        (3, "label", 'must be true, a text or {"text": "..."}, not 3'),
        ({"text": 3}, "label.text", "label text must be text, not 3"),
        (
            {"corner": "middle"},
            "label.corner",
            "top-left, top-right, bottom-left, bottom-right, not 'middle'",
        ),
        ({"colour": "red"}, "label.colour", "not a field of label"),
    ],
)
def test_invalid_labels(label: Any, field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        build_request(BASE | {"label": label})
    assert caught.value.field == field
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (None, None),
        (False, None),
        (True, LabelSpec(text="AI-generated", corner="bottom-right")),
        ({}, LabelSpec(text="AI-generated", corner="bottom-right")),
        ("Made by AI", LabelSpec(text="Made by AI")),
        ({"text": "Hi", "corner": "top-left"}, LabelSpec(text="Hi", corner="top-left")),
    ],
)
def test_labels_of_a_request(value: Any, label: LabelSpec | None) -> None:
    assert GenerationRequest(**BASE, label=value).label == label


def test_a_text_that_does_not_fit_is_refused() -> None:
    Label("x" * 60).check_size(832, 480)
    Label("AI-generated").check_size(112, 64)
    with pytest.raises(
        InvalidInput, match=r"label is too long for a video of 112x64 pixels \(60 char"
    ) as caught:
        Label("x" * 60).check_size(112, 64)
    most = int(str(caught.value).split("at most ")[1].split()[0])
    Label("x" * most).check_size(112, 64)


def test_another_font_for_other_scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABEL_FONT", str(tmp_path / "missing.ttf"))
    with pytest.raises(InvalidInput, match="LABEL_FONT must be a font file"):
        check_label_text("AI-generated")
    default = resources.files(FONT[0]) / FONT[1]
    monkeypatch.setenv("LABEL_FONT", str(default).replace("Semibold", "Black"))
    black = np.zeros((200, 600, 3), np.uint8)
    bold = Label("AI").draw(black)
    monkeypatch.delenv("LABEL_FONT")
    assert (bold > 230).sum() > (Label("AI").draw(black) > 230).sum()
