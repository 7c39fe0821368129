"""Values that a browser has kept are checked before they fill the form."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
import pytest

from multitalk.errors import InvalidInput
from multitalk.ui import options
from multitalk.ui.kept_form import kept_job, kept_values, save_script
from multitalk.ui.layout import build_layout
from tests.ui.app import EXAMPLES

PICTURE = str(EXAMPLES / "two_people.png")


@pytest.fixture(scope="module")
def form() -> dict[str, Any]:
    with gr.Blocks():
        return build_layout([]).form


def check_access(paths: list[str | None]) -> None:
    if paths != [PICTURE]:
        raise InvalidInput("File belongs to another browser.")


def filled(form: dict[str, Any], kept: Any) -> dict[str, Any]:
    """Return the values that are filled in, with the boxes."""
    values = kept_values(form, kept, check_access)
    assert len(values) == len(form) + 1
    names = [*form, "restored_boxes"]
    return {name: value for name, value in zip(names, values, strict=True) if value != gr.skip()}


def test_valid_values_are_filled_in(form):
    kept = {"mode": options.IN_TURNS, "script": "(s1) Hi", "steps": 7, "shift": None, "apg": True}
    kept |= {"color_correction": "0.5", "preset": "of other weights", "person1_voice": "af_heart"}
    kept |= {"picture": PICTURE, "size": "720p"}
    assert filled(form, kept) == kept


@pytest.mark.parametrize(
    "value", [None, [], {}, "x", 3, -1e9, True, [[]], {"path": "/etc/passwd"}, "/etc/passwd"]
)
def test_any_kept_value_is_handled(form, value):
    texts = {name for name, component in form.items() if isinstance(component, gr.Textbox)}
    values = filled(form, dict.fromkeys(form, value))
    assert not {"picture", "person1_sound", "boxes", "mode", "size"} & values.keys()
    assert isinstance(value, str) or not texts & values.keys()
    assert filled(form, value) == {}


def test_boxes_are_kept_with_their_image(form):
    boxes = {"person1": [1, 2, 30, 40], "person2": [50, 2, 90, 40]}
    kept = filled(form, {"picture": PICTURE, "boxes": boxes})["restored_boxes"]
    assert (kept["boxes"], kept["size"]) == (boxes, (576, 384))
    assert "restored_boxes" not in filled(form, {"boxes": boxes})
    assert "restored_boxes" not in filled(form, {"picture": PICTURE, "boxes": {"person1": [9, 9, 10**9, 10]}})


def test_only_ids_of_jobs_are_taken():
    assert kept_job("0123456789abcdef" * 2) == "0123456789abcdef" * 2
    assert [kept_job(value) for value in (None, "", "../x", ["a"], {"a": 1})] == [None] * 5


def test_the_script_names_the_field():
    assert json.dumps("a") in save_script("a")
