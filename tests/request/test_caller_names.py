"""Errors with the names that a client of another worker used."""

from __future__ import annotations

from typing import Any

import pytest

from multitalk.errors import InvalidInput
from multitalk.request.caller_names import FIELDS, in_caller_words
from multitalk.request.generation_request import GenerationRequest

BOTH = {"image_url": "i", "wav_url": "a", "wav_path_2": "b"}


@pytest.mark.parametrize(
    ("fields", "message", "field", "expected"),
    [
        (BOTH, "image (9 bytes) cannot be read.", "image", "image_url (9 bytes) cannot be read."),
        (BOTH, "audio.person1 is too short.", "audio.person1", "wav_url is too short."),
        (BOTH, "audio.person2 is too short.", "audio.person2", "wav_path_2 is too short."),
        (BOTH, "audio is silent.", "audio", "audio is silent."),
        ({"wav_url": "a"}, "audio is silent.", "audio", "wav_url is silent."),
        ({"wav_url": "a"}, "audio.person2: no file.", "audio.person2", "wav_url: no file."),
        ({"audio_paths": {"person2": 1}}, "audio has person2.", "audio", "audio_paths has person2."),
        (
            {"audio_paths": {"person1": 1}},
            "audio.person1 must be audio.",
            "audio.person1",
            "audio_paths.person1 must be audio.",
        ),
        ({"audio_type": "x"}, "turns must be one of para.", "turns", "audio_type must be one of para."),
        (
            {"bbox": {"person1": [1]}},
            "bbox.person1 must be numbers.",
            "boxes.person1",
            "bbox.person1 must be numbers.",
        ),
        ({"sample_steps": 0}, "sample_steps must be.", "steps", "sample_steps must be."),
        ({"max_frame": 2}, "max_seconds is odd.", "max_seconds", "max_frame is odd."),
        (
            {"image": "i", "image_path": "p"},
            "image and image_path set the same field.",
            "image",
            "image and image_path set the same field.",
        ),
        ({"image": "i"}, "image is odd.", "image", "image is odd."),
        ({"image_path": ""}, "image is missing.", "image", "image is missing."),
        ({"image_path": "i"}, "imagery is odd.", "image", "imagery is odd."),
        (BOTH, "size is odd.", "size", "size is odd."),
        (BOTH, "It is odd.", None, "It is odd."),
        ([1], "input is odd.", "input", "input is odd."),
    ],
)
def test_names(fields: Any, message: str, field: str | None, expected: str) -> None:
    error = in_caller_words(InvalidInput(message, field), fields)
    assert (str(error), error.field) == (expected, field), "the field stays the request's"


def test_every_field_exists() -> None:
    assert {field.partition(".")[0] for field in FIELDS.values()} <= {*GenerationRequest.model_fields}
